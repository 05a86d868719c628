"""What follows training: measurements, exports and report, each step of which can be stopped or fail."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from dfad_core.contract.config import DistillConfig, InputConfig
from dfad_core.contract.job_result import AccuracyPrediction
from dfad_core.evaluation.fidelity import compared
from dfad_core.evaluation.judge_images import judge_sets
from dfad_core.formats import LoadedTeacher, int8
from dfad_core.formats.labelled import Labelled
from dfad_core.hooks import AnsweredImages, DistillResult, Hooks, PhaseProgress
from dfad_core.networks import build_classifier
from dfad_core.networks.cost import Cost
from dfad_core.networks.pixel_range import standardised
from dfad_core.report.job_result import (
    TrainedStudent,
    later_seconds,
    network_costs,
    outcome,
    student_file,
    student_result,
)

SHAPE = (1, 8, 8)


class Watching(Hooks):
    """Counts how often it is asked in each phase; asks to stop from the `stop_at`-th time on in `stop_in`."""

    def __init__(self, stop_in: str = "", stop_at: int = 0) -> None:
        self.stop_in, self.stop_at = stop_in, stop_at
        self.now = "evaluating"
        self.asked: dict[str, int] = {}
        self.events: list[tuple[str, Any]] = []
        self.reports: list[PhaseProgress] = []

    def phase(self, name: str) -> None:
        self.now = name

    def warn(self, code: str, data: Mapping[str, object]) -> None:
        self.events.append((code, data))

    def phase_progress(self, progress: PhaseProgress) -> None:
        self.reports.append(progress)

    def should_stop(self) -> str | None:
        self.asked[self.now] = self.asked.get(self.now, 0) + 1
        return "cancel" if self.now == self.stop_in and self.asked[self.now] > self.stop_at else None


@pytest.fixture
def trained() -> TrainedStudent:
    """A perceptron of a perceptron, as if it had been trained."""
    torch.manual_seed(0)
    networks = [
        build_classifier("mlp8", num_classes=10, input_shape=SHAPE, args={"width": w}) for w in (32, 8)
    ]
    source = InputConfig(SHAPE)
    teacher = LoadedTeacher(networks[0].eval(), "mlp8", {"width": 32}, 10, source, "safetensors", [])
    done = DistillResult(networks[1].eval(), steps=3, seconds=1.0, threads=1)
    done.evaluation = {"images": 64, "measured": {}, "seconds": 1.0, "bound_seconds": 60.0, "complete": True}
    spec = {"architecture": "mlp8", "args": {"width": 8}}
    return TrainedStudent(
        teacher, networks[1], spec, DistillConfig(source, device="cpu"), done, False,
        network_costs(teacher, networks[1]),
    )  # fmt: skip


SPEC = {"exports": ["safetensors", "onnx", "int8"], "seed": 0}


def test_a_teacher_that_gives_one_class_makes_no_usable_student(trained: TrainedStudent) -> None:
    for network in (trained.teacher.module, trained.student):
        with torch.no_grad():
            network.fc3.bias[7] += 1000  # type: ignore[union-attr,index,operator]
    found = outcome(trained, {"exports": [], "seed": 0}, Watching())
    assert found.result.usable is False
    assert "class 7" in (found.result.unusable_reason or "")
    (report,) = [f.content.decode() for f in found.files if f.kind == "report"]
    assert "Not usable." in report
    assert f"No accuracy is predicted. {found.result.unusable_reason}" in html.unescape(report)
    assert found.result.prediction.reason == found.result.unusable_reason


def test_the_result_names_the_classes_as_the_teachers_file_does(trained: TrainedStudent) -> None:
    assert student_result(trained).class_names is None
    trained.teacher.class_names = tuple("abcdefghij")
    assert student_result(trained).class_names == tuple("abcdefghij")


def test_a_student_is_usable_where_classes_vary(trained: TrainedStudent) -> None:
    result = outcome(trained, {"exports": [], "seed": 0}, Watching()).result
    assert (result.usable, result.unusable_reason) == (True, None)


def test_every_batch_after_training_is_a_sign_of_life(trained: TrainedStudent) -> None:
    hooks = Watching()
    images, labels = torch.randn(600, *SHAPE), torch.zeros(600, dtype=torch.int64)
    labelled = Labelled(images, labels, trained.teacher.input, "mine")
    found = outcome(_with(trained, labelled=labelled), SPEC, hooks)
    assert not found.stopped
    assert found.result.accuracy is not None
    assert found.result.accuracy.images == 600
    assert "another order" in found.result.accuracy.notes[-1], "the teacher never says class 0"
    assert sum(found.result.class_histogram or ()) == 256
    assert [made.kind for made in found.files[:2]] == ["student_onnx", "student_int8"]
    assert not any(made.kind == "student" for made in found.files), "that one went to the hooks"
    # Each timed pass, each batch of both accuracies, of the histogram and of the held-out images.
    assert hooks.asked["evaluating"] >= 2 * 2 * 4 + 2 * 3 + 4
    # Each batch of two comparisons of 128 images, and of the calibration.
    assert hooks.asked["exporting"] >= 2 * 3 + 128 // int8.CALIBRATION_BATCH


def test_measured_and_exported_with_the_threads_of_training(
    trained: TrainedStudent, monkeypatch: Any
) -> None:
    number, used = [4], set()
    monkeypatch.setattr(torch, "get_num_threads", lambda: number[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda threads: number.__setitem__(0, threads))

    class Looking(Watching):
        def should_stop(self) -> str | None:
            used.add((self.now, torch.get_num_threads()))
            return super().should_stop()

    found = outcome(
        _with(trained, training=dataclasses.replace(trained.training, threads=3)), SPEC, Looking()
    )
    assert used == {("evaluating", 3), ("exporting", 3)}
    assert found.result.training.threads == 3
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("at", [0, 3])
def test_a_stop_while_measuring_leaves_out_the_rest(trained: TrainedStudent, at: int) -> None:
    hooks = Watching("evaluating", at)
    found = outcome(trained, SPEC, hooks)
    assert found.stopped
    assert hooks.now == "evaluating"
    assert (found.result.exports, found.result.accuracy) == ({}, None)
    assert found.result.student.parameters > 0
    assert {made.kind for made in found.files} <= {"report", "samples"}


def test_a_stop_while_exporting_keeps_the_formats_that_are_there(trained: TrainedStudent) -> None:
    whole = Watching()
    outcome(trained, {**SPEC, "exports": ["onnx"]}, whole)
    found = outcome(trained, SPEC, Watching("exporting", whole.asked["exporting"] + 2))
    assert found.stopped
    assert [made.kind for made in found.files if made.kind != "report"] == ["student_onnx"]
    assert list(found.result.exports) == ["onnx"]


def test_a_stop_that_was_obeyed_in_training_is_not_obeyed_again(trained: TrainedStudent) -> None:
    found = outcome(_with(trained, stopped=True), {**SPEC, "exports": []}, Watching("evaluating"))
    assert found.stopped
    assert found.result.teacher.latency_milliseconds


def test_a_stop_within_the_quantiser_is_no_failed_export(trained: TrainedStudent, monkeypatch: Any) -> None:
    hooks, reader = Watching(), int8._Images.get_next

    def stopping(self: Any) -> Any:
        hooks.stop_in, hooks.stop_at = "exporting", 0
        return reader(self)

    monkeypatch.setattr(int8._Images, "get_next", stopping)
    found = outcome(trained, SPEC, hooks)
    assert found.stopped
    assert "int8" not in found.result.exports
    assert not hooks.events


def test_costly_networks_are_timed_and_asked_for_few_images(trained: TrainedStudent) -> None:
    heavy = dict.fromkeys(("teacher", "student"), Cost(1, 4, 10**12))
    found = outcome(_with(trained, costs=heavy), {**SPEC, "exports": ["onnx"]}, Watching())
    assert list(found.result.teacher.latency_milliseconds) == ["1"]
    assert sum(found.result.class_histogram or ()) == 16
    assert found.result.exports["onnx"].images == 16


def test_what_is_known_before_anything_is_measured(trained: TrainedStudent) -> None:
    known = student_result(trained)
    measured = outcome(trained, {**SPEC, "exports": []}, Watching()).result
    assert (known.student.parameters, known.accuracy) == (measured.student.parameters, None)
    assert len(student_file(trained).content) > known.student.bytes
    assert later_seconds(["safetensors", "onnx"]) > later_seconds(["safetensors"]) > 0


def test_a_report_of_what_was_not_measured_can_be_read(trained: TrainedStudent) -> None:
    pytest.importorskip("jinja2")
    trained.training.evaluation.update(complete=False)
    for stopped, what in ((False, "The evaluation"), (True, "Training")):
        found = outcome(_with(trained, stopped=stopped), {**SPEC, "exports": []}, Watching("evaluating"))
        (page,) = [made.content.decode() for made in found.files if made.kind == "report"]
        assert f"No accuracy is predicted. {what} did not come to its end." in page


@pytest.mark.parametrize("reason", [None, "Because."])
def test_eight_bits_are_judged_on_the_images_of_the_student(
    trained: TrainedStudent, monkeypatch: pytest.MonkeyPatch, reason: str | None
) -> None:
    pytest.importorskip("onnxruntime")
    seen: list[Mapping[str, AnsweredImages]] = []

    def recorded(run: Any, sets: Mapping[str, AnsweredImages], *args: Any, **named: Any) -> dict[str, float]:
        seen.append(sets)
        return compared(run, sets, *args, **named)

    monkeypatch.setattr("dfad_core.report.job_result.compared", recorded)
    trained.training.prediction = AccuracyPrediction(level=0.9, images=144, reason=reason)
    sets = judge_sets(trained.teacher.module, SHAPE, standardised(1), 64)
    trained.training.judge_sets = sets
    exports = outcome(trained, {**SPEC, "exports": ["onnx", "int8"]}, Watching()).result.exports
    assert exports["onnx"].prediction is None
    assert exports["onnx"].images == exports["int8"].images == 144
    judged = exports["int8"].prediction
    if reason is not None:
        assert (judged, seen) == (None, [])
        return
    assert seen == [sets]
    assert seen[0] is sets
    assert judged is not None
    assert judged.relative_accuracy is None, "so few images were never calibrated"
    assert "compared on 144 drawn images" in (judged.reason or "")


def _with(trained: TrainedStudent, **changes: Any) -> TrainedStudent:
    return dataclasses.replace(trained, **changes)
