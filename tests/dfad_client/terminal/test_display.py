"""How a job and its result are put into lines."""

from __future__ import annotations

from typing import Any

import pytest

from dfad_client.answers import Job
from dfad_client.terminal.display import evaluation, outcome, verdict


def job(**progress: Any) -> Job:
    about = {"step": 5, "total_steps": 5, "percent": 99.0, "eta_seconds": 31.0}
    return Job.of(
        {"id": "job_1", "status": "running", "phase": "evaluating", "progress": {**about, **progress}}
    )


def test_a_job_says_how_far_its_evaluation_is() -> None:
    counted = {"done": 512, "total": 4096, "unit": "images", "percent": 12.5}
    assert verdict(job(phase=counted)) == "job_1: running, evaluating, 512 of 4,096 images"
    assert verdict(job()) == "job_1: running, evaluating, 99 %"


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"complete": True}, "64 images of each source, in 41 s"),
        (
            {"measured": {"noise": 8, "generator": 0}, "seconds": 61.0},
            "8 of 128 images, in 1 min 1 s: its time, 1 min 0 s, was over",
        ),
        ({}, "none, in 41 s: it was stopped"),
    ],
)
def test_a_result_says_what_its_figures_rest_on(changes: dict[str, Any], text: str) -> None:
    about = {"images": 64, "measured": {}, "seconds": 41.2, "bound_seconds": 60.0, "complete": False}
    assert evaluation({**about, **changes}) == text
    network = {"architecture": "mlp8", "parameters": 3}
    result = {"teacher": network, "student": network, "evaluation": {**about, **changes}, "fidelity": {}}
    assert f"  evaluation  {text}" in outcome(result)
    assert not any("fidelity" in line for line in outcome(result))
