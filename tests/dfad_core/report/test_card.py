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
        "fidelity": {"agreement_drawn": 0.5},
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
    "teachers": 13, "images": 2304,
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


def test_lines_that_load_the_student_into_a_library_are_shown() -> None:
    shown = render_report(
        result(), history=[], samples_png=None, title="t", loading=("network = a", "b(network)")
    )
    assert "network = a\nb(network)" in shown
    assert "Or without this project" not in render_report(result(), history=[], samples_png=None, title="t")


def test_accuracy_names_its_data() -> None:
    measured = {"teacher": 0.99, "student": 0.95, "data": "held-out digits"}
    page = render_report(result(accuracy=measured), history=[], samples_png=None, title="t")
    assert "On held-out digits: teacher 99.00 %" in page
    assert "<svg" not in page


def test_times_of_any_batch() -> None:
    document = to_json(result())
    for role in ("teacher", "student"):
        document[role]["latency_milliseconds"] = {"1": 2.5, "8": 19.25}
    page = render_report(from_json(JobResult, document), history=[], samples_png=None, title="t")
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
    assert "<strong>91.4 %</strong> of the teacher's accuracy" in page
    assert "90 % interval 86.0 % to 95.2 %" in page
    assert "to 2,304 drawn images" in page
    assert "208 jobs of known accuracy with 13 teachers" in page
    assert "90.5 % of the jobs lay in their interval" in page
    assert "does not replace a test" in page
    assert "0.5000" not in page


def test_where_nothing_can_be_predicted_the_page_says_why() -> None:
    none = {"level": 0.9, "coverage": 0.905, "jobs": 208, "teachers": 13, "reason": "Too <large>."}
    page = render_report(result(prediction=none), history=[], samples_png=None, title="t")
    assert "No accuracy is predicted. Too &lt;large&gt;." in page
    assert "interval" not in page
    assert "predicted" not in render_report(result(), history=[], samples_png=None, title="t").lower()


def test_classes_have_their_names_escaped() -> None:
    named = result(class_histogram=[3, 1], class_names=["cat", "<b>dog"])
    page = render_report(named, history=[], samples_png=None, title="t")
    assert 'title="cat: 3"' in page
    assert "<li>&lt;b&gt;dog</li>" in page
    nameless = render_report(result(class_histogram=[3, 1]), history=[], samples_png=None, title="t")
    assert 'title="class 1: 1"' in nameless
    assert "in the order of the logits" not in nameless


def test_what_is_not_usable_is_said_first_and_no_agreement_is_shown() -> None:
    reason = "One class <alone>."
    spoilt = result(usable=False, unusable_reason=reason, prediction={"reason": reason})
    page = render_report(spoilt, history=HISTORY, samples_png=None, title="t")
    first = page.index("Not usable.")
    assert first < page.index("Teacher and student")
    assert "No accuracy is predicted. One class &lt;alone&gt;." in page
    assert "Agreement with the teacher on synthetic" not in page
    usable = dataclasses.replace(spoilt, usable=True)
    sound = render_report(usable, history=HISTORY, samples_png=None, title="t")
    assert "Not usable" not in sound
    assert "Agreement with the teacher on synthetic" in sound


def test_a_file_in_eight_bits_has_a_prediction_of_its_own_or_the_reason() -> None:
    figures = {"bytes": 3, "agreement_with_student": 0.981, "images": 2304, "max_difference": 0.5}
    for judged, words in (
        (
            {**JUDGED, "relative_accuracy": 0.87},
            "predicted: 87.0 % of the teacher's accuracy, 90 % interval 86.0 % to 95.2 %",
        ),
        ({"reason": "Too <odd>."}, "no accuracy is predicted: Too &lt;odd&gt;."),
    ):
        exports = {"int8": {**figures, "prediction": judged}, "onnx": {**figures, "tolerance": 1e-4}}
        page = render_report(result(exports=exports), history=[], samples_png=None, title="t")
        assert words in page
        assert page.count("same class on 98.10 % of 2,304 drawn images") == 2
        assert page.count("predicted") == 1
