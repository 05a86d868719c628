"""`run_job`, the pipeline of the worker and of `dfad distill`, on networks that train in a moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dfad_core.contract import evaluation_plan, limits
from dfad_core.contract.config import BudgetConfig, MethodConfig, TargetConfig, TrainingConfig
from dfad_core.contract.errors import CheckpointError, ConfigError, DivergedError, Stopped, TeacherRejected
from dfad_core.contract.job_spec import JobSpec, StudentSpec, TeacherSpec
from dfad_core.formats.converted import write_converted
from dfad_core.formats.labelled import write_labelled
from dfad_core.formats.labelled_file import read_labelled_file
from dfad_core.hooks import JobHooks
from dfad_core.job import (
    JobInputs,
    JobOptions,
    choose_student,
    read_teacher,
    run_job,
)
from dfad_core.networks.cost import cost
from dfad_core.networks.pass_memory import pass_memory
from dfad_core.training import checkpoint, trainer

TRAINING = TrainingConfig(batch_size=8, student_steps=2, pool_batches=2, threads=1, precision="float32")


class Recorder(JobHooks):
    """Records all calls in order; wants a stop in the phase `stop_in`."""

    def __init__(self, stop_in: str = "") -> None:
        self.calls: list[str] = []
        self.events: dict[str, dict[str, Any]] = {}
        self.students: list[tuple[bytes, int, bool]] = []
        self.checkpoints: dict[int, bytes] = {}
        self._stop_in, self._phase = stop_in, ""

    def phase(self, name: str) -> None:
        self._phase = name
        self.calls.append(name)

    def checkpoint(self, step: int, data: bytes) -> None:
        self.checkpoints[step] = data

    def note(self, code: str, data: dict[str, Any]) -> None:
        self.calls.append(code)
        self.events[code] = data

    warn = note

    def keep_student(self, file: Any, step: int, result: Any, *, complete: bool) -> None:
        self.calls.append("student")
        self.students.append((file.content, step, complete))

    def should_stop(self) -> str | None:
        return "cancel" if self._phase == self._stop_in else None


def _spec(student: StudentSpec | None = None, *, steps: int = 3, seed: int = 0, **more: Any) -> JobSpec:
    return JobSpec(
        student or StudentSpec("mlp8", {"width": 4}),
        method=MethodConfig(name="dfad"),
        budget=BudgetConfig(steps=steps),
        training=TRAINING,
        device="cpu",
        seed=seed,
        **more,
    )


def _labelled(folder: Path) -> Path:
    path = folder / "labelled.npz"
    np.savez(path, images=np.zeros((6, 8, 8), np.uint8), labels=np.zeros(6, np.int64))
    return path


def _weights(outcome: Any) -> dict[str, torch.Tensor]:
    return dict(outcome.training.student.state_dict())


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_uploads_and_their_converted_copies_give_the_same_student(tiny_teacher: Path, tmp_path: Path) -> None:
    hooks = Recorder()
    uploads = JobInputs(tiny_teacher, labelled=_labelled(tmp_path))
    outcome = run_job(uploads, _spec(exports=("pt2",)), hooks)
    teacher = read_teacher(tiny_teacher, TeacherSpec())
    write_converted(teacher, tmp_path / "converted")
    assert uploads.labelled is not None
    labelled = read_labelled_file(uploads.labelled, teacher.input, teacher.num_classes)
    write_labelled(labelled, tmp_path / "images")
    copies = JobInputs(tmp_path / "converted", labelled=tmp_path / "images", converted=True)
    again = run_job(copies, _spec(exports=("pt2",)), Recorder())
    assert _same(_weights(outcome), _weights(again))
    for one in (outcome, again):
        assert (one.complete, one.resumed, one.error) == (True, False, None)
        assert one.measured is not None
        assert not one.measured.stopped
        assert [file.kind for file in one.measured.files] == ["student_pt2", "report", "samples"]


def test_the_student_comes_before_anything_is_measured(tiny_teacher: Path) -> None:
    hooks = Recorder()
    run_job(JobInputs(tiny_teacher), _spec(), hooks)
    calls = [one for one in hooks.calls if not one.startswith("threads")]
    assert calls == ["loading", "warming_up", "distilling", "evaluating", "student", "exporting"]
    ((content, step, complete),) = hooks.students
    assert (step, complete) == (3, True)
    assert b'"steps": 3'.replace(b'"', b'\\"') in content


def test_a_resumed_job_gives_the_same_student_to_the_bit(tiny_teacher: Path) -> None:
    whole = run_job(JobInputs(tiny_teacher), _spec(), Recorder())
    hooks = Recorder()
    run_job(JobInputs(tiny_teacher), _spec(), hooks, options=JobOptions(checkpoint_seconds=1e-6))
    resumed = run_job(JobInputs(tiny_teacher), _spec(), Recorder(), resume=hooks.checkpoints[1])
    assert resumed.resumed
    assert _same(_weights(resumed), _weights(whole))


@pytest.mark.parametrize("kind", ["torn", "another job's", "without a state"])
def test_an_unusable_checkpoint_is_reported_and_training_starts_anew(tiny_teacher: Path, kind: str) -> None:
    first = Recorder()
    whole = run_job(JobInputs(tiny_teacher), _spec(), first)
    data = first.checkpoints[3]
    if kind == "another job's":
        other = Recorder()
        run_job(JobInputs(tiny_teacher), _spec(seed=9), other)
        data = other.checkpoints[3]
    elif kind == "torn":
        data = data[:-5]
    else:
        data = checkpoint.pack([], data[8:40])  # type: ignore[arg-type]
    hooks = Recorder()
    outcome = run_job(JobInputs(tiny_teacher), _spec(), hooks, resume=data)
    assert "training starts anew" in hooks.events["checkpoint_unusable"]["message"]
    assert (outcome.complete, outcome.resumed) == (True, False)
    assert _same(_weights(outcome), _weights(whole))
    if kind == "another job's":
        refusing = JobOptions(refuse_foreign_checkpoint=True)
        with pytest.raises(CheckpointError) as error:
            run_job(JobInputs(tiny_teacher), _spec(), Recorder(), resume=data, options=refusing)
        assert error.value.code == "foreign_checkpoint"


def test_a_stop_in_training_is_an_outcome(tiny_teacher: Path) -> None:
    hooks = Recorder(stop_in="distilling")
    outcome = run_job(JobInputs(tiny_teacher), _spec(), hooks)
    assert (outcome.complete, outcome.training.steps, outcome.error) == (False, 1, None)
    assert hooks.students[0][1:] == (1, False)
    assert outcome.measured is not None
    assert outcome.measured.stopped


def test_a_stop_is_measured_only_where_the_options_say_so(tiny_teacher: Path) -> None:
    options = JobOptions(measure_after_stop=False)
    hooks = Recorder(stop_in="evaluating")
    outcome = run_job(JobInputs(tiny_teacher), _spec(), hooks, options=options)
    assert (outcome.complete, outcome.measured) == (True, None)
    assert hooks.students[0][1:] == (3, True)


@pytest.mark.parametrize("error", [DivergedError, Stopped])
def test_an_end_without_any_student_is_raised(
    tiny_teacher: Path, monkeypatch: pytest.MonkeyPatch, error: type[Stopped]
) -> None:
    def ends(*_: Any, **__: Any) -> None:
        raise error("at once")

    monkeypatch.setattr(trainer, "_train", ends)
    monkeypatch.setattr(trainer, "_salvage", lambda *_: None)
    with pytest.raises(error, match="at once"):
        run_job(JobInputs(tiny_teacher), _spec(), Recorder())


def test_the_student_of_a_target_is_the_same_in_event_and_result(tiny_teacher: Path) -> None:
    hooks = Recorder()
    spec = _spec(StudentSpec(target=TargetConfig(max_parameters=1000)))
    outcome = run_job(JobInputs(tiny_teacher), spec, hooks)
    assert outcome.measured is not None
    chosen = hooks.events["student_chosen"]
    assert chosen["architecture"] == "mlp8"
    assert chosen["cost"]["parameters"] <= 1000
    assert sum(p.numel() for p in outcome.training.student.parameters()) == chosen["cost"]["parameters"]


def test_initial_weights_are_reported(tiny_teacher: Path) -> None:
    hooks = Recorder()
    student = StudentSpec("mlp8", {"width": 32})  # as wide as the teacher, whose weights it begins with
    run_job(JobInputs(tiny_teacher, initial=tiny_teacher), _spec(student), hooks)
    assert hooks.events["student_init"]["missing"] == []


def test_each_way_of_naming_a_student(tiny_teacher: Path) -> None:
    teacher = read_teacher(tiny_teacher, TeacherSpec())
    layers = [{"type": "flatten"}, {"type": "linear"}]
    config = {"model_type": "resnet"}
    ways = [
        (StudentSpec("mlp8", {"width": 3}), "mlp8", {"width": 3}),
        (StudentSpec(layers=layers), "layers", {"layers": layers}),
        (StudentSpec(transformers=config), "transformers", {"config": config}),
    ]
    for spec, architecture, args in ways:
        network = choose_student(spec, teacher)
        assert (network.architecture, network.args, network.chosen) == (architecture, args, None)


def test_a_file_of_another_format_than_named_is_refused(tiny_teacher: Path) -> None:
    with pytest.raises(TeacherRejected) as error:
        read_teacher(tiny_teacher, TeacherSpec(format="onnx"))
    assert (error.value.code, error.value.param) == ("unsupported_format", "format")


@pytest.mark.parametrize("costly", ["macs", "memory"])
def test_a_costly_teacher_is_timed_on_batches_that_the_report_has_for_both(
    tiny_teacher: Path, monkeypatch: pytest.MonkeyPatch, costly: str
) -> None:
    """A teacher whose own batches were smaller than its student's once ended the report with an error."""
    teacher = read_teacher(tiny_teacher, TeacherSpec())
    largest = pass_memory(teacher.module, teacher.input.shape).largest_bytes
    smaller = JobSpec(StudentSpec("mlp8", {"width": 1}), budget=BudgetConfig(steps=1), training=TRAINING)
    if costly == "macs":
        monkeypatch.setattr(evaluation_plan, "PASS_MACS", 16 * cost(teacher.module, teacher.input.shape).macs)
    else:
        monkeypatch.setattr(limits, "EVALUATION_BYTES", 16 * limits.FORWARD_TENSORS * largest)
    outcome = run_job(JobInputs(tiny_teacher), smaller, Recorder())
    assert outcome.measured is not None
    result = outcome.measured.result
    assert result.teacher.latency_milliseconds is not None
    assert result.student.latency_milliseconds is not None
    assert (
        list(result.teacher.latency_milliseconds) == list(result.student.latency_milliseconds) == ["1", "16"]
    )
    assert "report" in [file.kind for file in outcome.measured.files]


def test_a_job_that_keeps_to_no_limit_is_refused_before_training(tiny_teacher: Path) -> None:
    hooks = Recorder()
    options = JobOptions(limits=limits.Limits(deadline_seconds=1.0))
    with pytest.raises(ConfigError) as caught:
        run_job(JobInputs(tiny_teacher), _spec(steps=10**7), hooks, options=options)
    assert caught.value.code == "deadline_too_short"
    assert hooks.students == []
    assert "distilling" not in hooks.calls
