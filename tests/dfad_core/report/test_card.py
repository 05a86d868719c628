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


HISTORY = [{"seconds": float(i), "student_loss": 1.0 / (i + 1), "agreement": 0.1 * i} for i in range(5)]


def test_fidelity_is_never_called_accuracy() -> None:
    page = render_report(result(), history=HISTORY, samples_png=b"png", title="A <b>job</b>")
    assert "Not measured: no labelled data was given" in page
    assert "<em>not</em> accuracy" in page
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
    about = {"images": 64, "measured": {}, "seconds": 41.2, "bound_seconds": 60.0, "complete": True}
    document = to_json(result(evaluation=about))
    for role in ("teacher", "student"):
        document[role]["latency_milliseconds"] = {"1": 2.5, "8": 19.25}
    page = render_report(from_json(JobResult, document), history=[], samples_png=None, title="t")
    assert "Measured on 64 images of each source, in 41.2 s." in page
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


def test_only_figures_that_followed_accuracy_are_shown() -> None:
    found = result(fidelity={"agreement_noise": 0.51234, "divergence_noise": 0.98765})
    proven = {"divergence_noise": {"digits": -0.91, "mnist": -0.85}}
    page = render_report(found, history=[], samples_png=None, title="t", proven=proven)
    assert "0.9877" in page
    assert "digits -0.91, mnist -0.85" in page
    assert "0.5123" not in page
    assert "at least 0.8" in page


def test_where_nothing_followed_accuracy_the_page_says_so() -> None:
    page = render_report(result(), history=[], samples_png=None, title="t", proven={})
    assert "none is shown" in page
    assert "0.5000" not in page


def test_what_is_not_usable_is_said_first_and_no_agreement_is_shown() -> None:
    figures = {"bytes": 3, "agreement_with_student": 1.0, "agreement_with_teacher": 0.98765, "images": 8,
               "max_difference": 0.0}  # fmt: skip
    spoilt = result(usable=False, unusable_reason="One class <alone>.", exports={"onnx": figures})
    proven = {"agreement_noise": {"digits": 0.9}}
    page = render_report(spoilt, history=HISTORY, samples_png=None, title="t", proven=proven)
    first = page.index("Not usable.")
    assert first < page.index("Teacher and student")
    assert "One class &lt;alone&gt;." in page
    assert "Fidelity</h2>" not in page
    assert "98.76" not in page
    assert "98.77" not in page
    assert "Agreement with the teacher on synthetic" not in page
    usable = dataclasses.replace(spoilt, usable=True)
    sound = render_report(usable, history=HISTORY, samples_png=None, title="t", proven=proven)
    assert "Not usable" not in sound
    assert "agrees with the teacher on 98.77 %" in sound or "agrees with the teacher on 98.76 %" in sound
    assert "0.5000" in sound
