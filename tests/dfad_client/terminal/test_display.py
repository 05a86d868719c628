"""How a job and its result are put into lines."""

from __future__ import annotations

from typing import Any

import pytest

from dfad_client.answers import Job
from dfad_client.terminal.display import evaluation, outcome, prediction, verdict


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
        ({"complete": True, "measured": {"drawn": 64, "chosen": 32}}, "96 drawn images, in 41 s"),
        ({"seconds": 61.0}, "too few images, in 1 min 1 s: its time, 1 min 0 s, was over"),
        ({}, "too few images, in 41 s: it was stopped"),
    ],
)
def test_a_result_says_what_its_figures_rest_on(changes: dict[str, Any], text: str) -> None:
    about = {"images": 64, "measured": {}, "seconds": 41.2, "bound_seconds": 60.0, "complete": False}
    assert evaluation({**about, **changes}) == text
    network = {"architecture": "mlp8", "parameters": 3}
    result = {"teacher": network, "student": network, "evaluation": {**about, **changes}}
    assert f"  evaluation  {text}" in outcome(result)
    assert not any("predicted" in line for line in outcome(result))


def test_a_prediction_comes_with_its_interval_or_with_the_reason_why_there_is_none() -> None:
    judged = {"relative_accuracy": 0.914, "low": 0.86, "high": 0.952, "level": 0.9, "jobs": 208}
    line = "91% of the teacher's accuracy, 90% interval 86% to 95%, from 208 jobs of known accuracy"
    assert prediction({"prediction": judged}) == [line]
    assert f"  predicted   {line}" in outcome({"prediction": judged})
    assert prediction({"prediction": {"relative_accuracy": None, "reason": "Why."}}) == ["nothing: Why."]
    unusable = {"prediction": judged, "usable": False, "unusable_reason": "One class."}
    assert prediction(unusable) == ["nothing: One class."]
    assert prediction({"prediction": None}) == prediction({"fidelity": {"agreement_noise": 0.9}}) == []
