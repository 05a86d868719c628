"""How a job and its result are put into lines."""

from __future__ import annotations

from typing import Any

from dfad_client.answers import Job
from dfad_client.terminal.display import outcome, prediction, verdict


def job(**progress: Any) -> Job:
    about = {"step": 5, "total_steps": 5, "percent": 99.0, "eta_seconds": 31.0}
    return Job.of(
        {"id": "job_1", "status": "running", "phase": "evaluating", "progress": {**about, **progress}}
    )


def test_a_job_says_how_far_its_evaluation_is() -> None:
    counted = {"done": 512, "total": 4096, "unit": "images", "percent": 12.5}
    assert verdict(job(phase=counted)) == "job_1: running, evaluating, 512 of 4,096 images"
    assert verdict(job()) == "job_1: running, evaluating, 99 %"


JUDGED = {
    "relative_accuracy": 0.914, "low": 0.86, "high": 0.952, "level": 0.9, "coverage": 0.905, "jobs": 208,
    "images": 2304,
}  # fmt: skip


def test_a_prediction_comes_with_its_interval_or_with_the_reason_why_there_is_none() -> None:
    lines = [
        "91.4% of the teacher's accuracy, 90% interval 86.0% to 95.2%",
        "from 2,304 drawn images and 208 jobs of known accuracy, 90.5% of which lay in their interval",
    ]
    assert prediction(JUDGED) == lines
    assert "\n".join((f"  predicted   {lines[0]}", f"              {lines[1]}")) in "\n".join(
        outcome({"prediction": JUDGED})
    )
    assert prediction({"relative_accuracy": None, "reason": "Why."}) == ["nothing: Why."]
    assert prediction(None) == []
    assert not any("predicted" in line for line in outcome({"fidelity": {"agreement_drawn": 0.9}}))


def test_a_file_in_eight_bits_is_predicted_by_itself() -> None:
    exports = {
        "onnx": {"bytes": 9},
        "int8": {"bytes": 3, "prediction": {**JUDGED, "relative_accuracy": 0.87}},
    }
    *_, last = outcome({"prediction": JUDGED, "exports": exports})
    assert last == "              predicted 87.0% of the teacher's accuracy, 90% interval 86.0% to 95.2%"
    about = {
        "bytes": 3, "agreement_with_student": 0.37, "images": 128, "latency_milliseconds": {"1": 2.0},
        "float_latency_milliseconds": {"1": 1.0}, "caution": "It is slower.",
    }  # fmt: skip
    shown = outcome({"exports": {"int8": about}})
    assert "3 bytes, same class as the student on 37.0% of 128 images, batch 1: 2 ms (float 1)" in shown[-2]
    assert shown[-1].endswith("Caution: It is slower.")
    exports["int8"] = {"bytes": 3, "prediction": {"relative_accuracy": None, "reason": "Why."}}
    assert outcome({"exports": exports})[-1] == "              predicted nothing: Why."
