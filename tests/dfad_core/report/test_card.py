"""The report: honest words, escaped names, no other host."""

import dataclasses
from typing import Any

from dfad_core.contract.job_result import JobResult
from dfad_core.contract.serialization import from_json, to_json
from dfad_core.report.card import render_report


def result(**changes: Any) -> JobResult:
    side = {"architecture": "<script>alert(1)</script>", "parameters": 10, "bytes": 40, "macs": 100}
    document = {
        "teacher": side,
        "student": {**side, "architecture": "mlp8"},
        "compression": 4.5,
        "fidelity": {"agreement_noise": 0.5},
        "accuracy": None,
        "training": {
            "method": "auto", "weights": {"bn_weight": 1.0}, "steps": 3, "seconds": 1.5, "device": "cpu",
            "precision": "float32", "seed": 0, "complete": True,
        },
        "events": [{"kind": "collapse_suspected", "step": 2}],
        "versions": {"torch": "2"},
        **changes,
    }  # fmt: skip
    return from_json(JobResult, document)


JUDGED = {
    "relative_accuracy": 0.914, "low": 0.86, "high": 0.952, "level": 0.9, "coverage": 0.905, "jobs": 208,
    "teachers": 13, "images": 1024,
}  # fmt: skip
HISTORY = [{"seconds": float(i), "student_loss": 1.0 / (i + 1), "agreement": 0.1 * i} for i in range(5)]


def test_what_was_not_measured_is_said_and_names_are_escaped() -> None:
    page = render_report(result(), history=HISTORY, samples_png=b"png", title="A <b>job</b>")
    assert "Not measured: no labelled data was given" in page
    assert "<script>" not in page
    assert "&lt;b&gt;job" in page
    assert "<svg" in page
    assert "collapse suspected" in page
    assert all(f'{a}="http' not in page.replace("http://www.w3.org", "") for a in ("src", "href"))


def test_accuracy_names_its_data() -> None:
    measured = {"teacher": 0.99, "student": 0.95, "data": "held-out digits"}
    page = render_report(result(accuracy=measured), history=[], samples_png=None, title="t")
    assert "On held-out digits: teacher 99.00 %" in page
    assert "<svg" not in page


def test_what_the_figures_rest_on_and_times_of_any_batch() -> None:
    about = {
        "images": 64, "measured": {"drawn": 64, "chosen": 32}, "seconds": 41.2, "bound_seconds": 60.0,
        "complete": True,
    }  # fmt: skip
    document = to_json(result(evaluation=about, prediction=JUDGED))
    for role in ("teacher", "student"):
        document[role]["latency_milliseconds"] = {"1": 2.5, "8": 19.25}
    page = render_report(from_json(JobResult, document), history=[], samples_png=None, title="t")
    assert "compared on 96 drawn images, in 41.2 s." in page
    assert "ms, batch 8" in page
    assert "19.25" in page
    assert "batch 64" not in page


def test_a_partial_student_says_so() -> None:
    training = {**to_json(result().training), "complete": False}
    assert "Partial." in render_report(result(training=training), history=[], samples_png=None, title="t")


def test_events_say_what_was_seen() -> None:
    events = [
        {"kind": "collapse_suspected", "step": 40, "class_entropy": 0.123456, "sample_distance": 0.5},
        {"kind": "student_larger_than_teacher", "step": 0, "teacher": 10, "student": "<i>20"},
    ]
    page = render_report(result(events=events), history=[], samples_png=None, title="t")
    assert "class entropy 0.1235" in page
    assert "student larger than teacher" in page
    assert "&lt;i&gt;20" in page


def test_gaps_in_the_series_are_no_obstacle() -> None:
    history = [{"seconds": 0.0, "student_loss": float("nan")}, {"seconds": 1.0, "agreement": 0.5}]
    page = render_report(result(), history=history, samples_png=None, title="t")
    assert "<svg" in page


def test_a_prediction_is_shown_with_its_interval_and_what_it_is_worth() -> None:
    page = render_report(result(prediction=JUDGED), history=[], samples_png=None, title="t")
    assert "<strong>91 %</strong> of the teacher's accuracy" in page
    assert "90 % interval 86 to 95 %" in page
    assert "208 jobs of known accuracy with 13 teachers" in page
    assert "does not replace a test" in page
    assert "0.5000" not in page


def test_where_nothing_can_be_predicted_the_page_says_why() -> None:
    none = {"level": 0.9, "coverage": 0.905, "jobs": 208, "teachers": 13, "reason": "Too <large>."}
    page = render_report(result(prediction=none), history=[], samples_png=None, title="t")
    assert "No accuracy is predicted. Too &lt;large&gt;." in page
    assert "interval" not in page
    assert "predicted" not in render_report(result(), history=[], samples_png=None, title="t").lower()


def test_what_is_not_usable_is_said_first_and_no_agreement_is_shown() -> None:
    figures = {"bytes": 3, "agreement_with_student": 1.0, "prediction": {**JUDGED, "relative_accuracy": 0.87},
               "images": 8, "max_difference": 0.0}  # fmt: skip
    spoilt = result(
        usable=False, unusable_reason="One class <alone>.", exports={"int8": figures}, prediction=JUDGED
    )
    page = render_report(spoilt, history=HISTORY, samples_png=None, title="t")
    first = page.index("Not usable.")
    assert first < page.index("Teacher and student")
    assert "One class &lt;alone&gt;." in page
    assert "91 %" not in page
    assert "87 %" not in page
    assert "Agreement with the teacher on synthetic" not in page
    usable = dataclasses.replace(spoilt, usable=True)
    sound = render_report(usable, history=HISTORY, samples_png=None, title="t")
    assert "Not usable" not in sound
    assert "predicted accuracy 87 % of the teacher's (86 to 95 %)" in sound
    assert "91 %" in sound
