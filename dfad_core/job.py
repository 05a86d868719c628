"""`run_job`: a whole job, from its files to its outcome, for the worker and for `dfad distill`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from dfad_core.contract import layer_list, transformers_config
from dfad_core.contract.config import DistillConfig
from dfad_core.contract.errors import (
    CheckpointError,
    ConfigError,
    DivergedError,
    ShapeError,
    Stopped,
    TeacherRejected,
)
from dfad_core.contract.inspection import assumed_input
from dfad_core.contract.job_result import ChosenStudent, InitialWeightsMatch
from dfad_core.contract.job_spec import JobSpec, StudentSpec, TeacherSpec
from dfad_core.contract.limits import NO_LIMITS, Limits
from dfad_core.contract.serialization import JsonObject, from_json, to_json
from dfad_core.formats import LoadedTeacher, load_teacher
from dfad_core.formats.converted import read_converted
from dfad_core.formats.initial import begin_with, read_weights
from dfad_core.formats.labelled import Labelled, read_labelled
from dfad_core.formats.labelled_file import read_labelled_file
from dfad_core.formats.safetensors import read_safetensors
from dfad_core.formats.unfolded import with_batch_norm
from dfad_core.hooks import DistillResult, JobHooks
from dfad_core.networks import build_classifier
from dfad_core.networks.cost import Cost, cost
from dfad_core.networks.derive import derive_student
from dfad_core.report.job_result import (
    Outcome,
    TrainedStudent,
    later_seconds,
    network_costs,
    outcome,
    student_file,
    student_result,
)
from dfad_core.training.trainer import distill

FOREIGN_CHECKPOINT = "foreign_checkpoint"
"""Code of the CheckpointError for an intact checkpoint of another job."""


@dataclass(frozen=True)
class JobInputs:
    """The files of a job."""

    teacher: Path
    initial: Path | None = None
    """Initial weights of the student."""
    labelled: Path | None = None
    """Labelled images for measuring accuracy."""
    converted: bool = False
    """The files are this project's own copies of the uploads (`dfad_core.formats.converted`)."""


@dataclass(frozen=True)
class JobOptions:
    """How a caller runs a job. Nothing here changes the student, unless batches must be sliced to fit."""

    checkpoint_seconds: float = 60.0
    progress_seconds: float = 1.0
    refuse_foreign_checkpoint: bool = False
    """Raise the error for a checkpoint of another job, instead of starting anew."""
    limits: Limits = NO_LIMITS
    """Time and memory that the job may take; one that will not keep to them is refused before training."""
    measure_after_stop: bool = True
    """Measure, export and report a partial student after a stop."""
    settings: JsonObject | None = None
    """What the report prints as the job's settings; None: the spec."""


@dataclass(frozen=True)
class JobOutcome:
    """The outcome of a job, without the student, which `JobHooks.keep_student` gets."""

    training: DistillResult
    complete: bool
    """Whether training came to its end; otherwise the student is partial."""
    resumed: bool
    """Whether training continued from the checkpoint."""
    measured: Outcome | None
    """Result and files; None where a stop came first and `measure_after_stop` is false."""
    error: DivergedError | None = None
    """Why the student is partial, unless it was a stop."""


@dataclass(frozen=True)
class Network:
    """A student to build: an architecture of the catalogue and its arguments."""

    architecture: str
    args: JsonObject
    chosen: ChosenStudent | None = None
    """The same with its cost, for a job with a target."""


@dataclass(frozen=True)
class _Prepared:
    """Networks, settings and data, as they are before training."""

    teacher: LoadedTeacher
    student: nn.Module
    network: Network
    config: DistillConfig
    labelled: Labelled | None
    initial: InitialWeightsMatch | None = None
    """Which of the initial weights fitted, where there were any."""

    @cached_property
    def costs(self) -> dict[str, Cost]:
        """Cost of both networks. Only used after the engine has checked that they fit the input."""
        return network_costs(self.teacher, self.student)

    def trained(self, result: DistillResult, complete: bool) -> TrainedStudent:
        """The student after training, for measuring, exporting and reporting."""
        network = {"architecture": self.network.architecture, "args": self.network.args}
        return TrainedStudent(
            self.teacher, self.student, network, self.config, result, not complete, self.costs,
            self.labelled, self.network.chosen, self.initial,
        )  # fmt: skip


@dataclass(frozen=True)
class _Training:
    """Result and end of the training."""

    result: DistillResult
    ended_by: Stopped | DivergedError | None
    resumed: bool = False


def run_job(
    inputs: JobInputs,
    spec: JobSpec,
    hooks: JobHooks,
    *,
    resume: bytes | None = None,
    options: JobOptions | None = None,
) -> JobOutcome:
    """Load the files, choose and build the student, distil, measure, export and report.

    `resume` is a checkpoint of the same job. If it cannot be used, training starts anew after the event
    `checkpoint_unusable`. `hooks.keep_student` gets the student as soon as training is over. A stop and a
    diverged loss are outcomes, not errors, if there is a student.

    Raises TeacherRejected, EvaluationRejected, ConfigError and ShapeError for files and settings that cannot
    be used, ConfigError for a job that will not keep to the limits (`memory_limit`, `deadline_too_short`),
    Stopped or DivergedError where there is no student yet, and CheckpointError (`foreign_checkpoint`) if the
    options say so.
    """
    options = options or JobOptions()
    prepared = _prepare(inputs, spec, hooks, options)

    def keep(result: DistillResult, complete: bool) -> None:
        trained = prepared.trained(result, complete)
        hooks.keep_student(student_file(trained), result.steps, student_result(trained), complete=complete)

    hooks.on_student_ready, hooks.later_seconds = keep, later_seconds(spec.exports)
    training = _distil(prepared, hooks, resume, options)
    ended_by, complete = training.ended_by, training.ended_by is None
    measured = None
    if options.measure_after_stop or hooks.should_stop() is None:
        settings = options.settings if options.settings is not None else spec.to_json()
        exports = {"exports": list(spec.exports)}
        measured = outcome(prepared.trained(training.result, complete), {**settings, **exports}, hooks)
    error = ended_by if isinstance(ended_by, DivergedError) else None
    return JobOutcome(training.result, complete, training.resumed, measured, error)


def _prepare(inputs: JobInputs, spec: JobSpec, hooks: JobHooks, options: JobOptions) -> _Prepared:
    hooks.phase("loading")
    teacher = (
        read_converted(inputs.teacher) if inputs.converted else read_teacher(inputs.teacher, spec.teacher)
    )
    teacher = with_batch_norm(teacher)
    for note in teacher.notes:
        hooks.note("teacher_note", {"message": note})
    config = DistillConfig(
        input=teacher.input,
        num_classes=teacher.num_classes,
        method=spec.method,
        budget=spec.budget,
        training=spec.training,
        device=cast(Any, spec.device),  # JobSpec has checked it
        seed=spec.seed,
        checkpoint_seconds=options.checkpoint_seconds,
        progress_seconds=options.progress_seconds,
    )
    labelled = None if inputs.labelled is None else _read_labelled(inputs.labelled, teacher, inputs.converted)
    with _assumptions_said(teacher):
        network = choose_student(spec.student, teacher)
        if network.chosen is not None:
            hooks.note("student_chosen", to_json(network.chosen))
        torch.manual_seed(config.seed)
        student = build_classifier(
            network.architecture,
            num_classes=teacher.num_classes,
            input_shape=teacher.input.shape,
            args=network.args,
        )
    initial = None
    if inputs.initial is not None:
        weights = read_safetensors(inputs.initial)[0] if inputs.converted else read_weights(inputs.initial)
        initial = from_json(InitialWeightsMatch, begin_with(student, weights))
        hooks.note("student_init", to_json(initial))
        config = dataclasses.replace(
            config, method=dataclasses.replace(config.method, start_from_teacher=False)
        )
    return _Prepared(teacher, student, network, config, labelled, initial)


@contextmanager
def _assumptions_said(teacher: LoadedTeacher) -> Iterator[None]:
    """Where the size of the images is assumed, say so in the error of a student that it does not fit."""
    try:
        yield
    except (ShapeError, ConfigError) as error:
        if not teacher.input_assumed:
            raise
        text = f"{error.message}. {assumed_input(teacher.input.shape)}"
        raise type(error)(text, code=error.code, param=error.param) from error


def _read_labelled(path: Path, teacher: LoadedTeacher, converted: bool) -> Labelled:
    if converted:
        return read_labelled(path, teacher.input, teacher.num_classes)
    return read_labelled_file(path, teacher.input, teacher.num_classes, teacher.class_names)


def read_teacher(path: Path, spec: TeacherSpec) -> LoadedTeacher:
    """The teacher in the uploaded file `path`. Raises TeacherRejected or ConfigError."""
    teacher = load_teacher(
        path,
        architecture=spec.architecture,
        num_classes=spec.num_classes,
        input=spec.input,
        args=spec.args or None,
        output=spec.output,
        weights=spec.weights,
    )
    if spec.format not in ("auto", teacher.file_format):
        text = f"The file is {teacher.file_format}, not {spec.format}."
        raise TeacherRejected(text, code="unsupported_format", param="format")
    return teacher


def choose_student(spec: StudentSpec, teacher: LoadedTeacher) -> Network:
    """The student by name, list of layers or config, or the largest one of the family within a target.

    Raises ConfigError (`target_unreachable`) with the cost of the smallest one.
    """
    if spec.layers is not None:
        return Network(layer_list.NAME, {layer_list.NAME: spec.layers})
    if spec.transformers is not None:
        return Network(transformers_config.NAME, {"config": spec.transformers})
    if spec.target is None:
        assert spec.architecture is not None, "StudentSpec names one of four"
        return Network(spec.architecture, dict(spec.args))
    chosen = derive_student(
        spec.target,
        teacher=teacher.architecture,
        teacher_args=teacher.args,
        teacher_cost=cost(teacher.module, teacher.input.shape),
        num_classes=teacher.num_classes,
        input_shape=teacher.input.shape,
    )
    return Network(
        chosen.architecture, chosen.args, ChosenStudent(chosen.architecture, chosen.args, chosen.cost)
    )


def _distil(prepared: _Prepared, hooks: JobHooks, resume: bytes | None, options: JobOptions) -> _Training:
    """Train, from the checkpoint if it can be used."""
    if resume is None:
        return _train(prepared, hooks, None, options.limits)
    student = prepared.student
    start = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    try:
        return _train(prepared, hooks, resume, options.limits)
    except CheckpointError as error:
        if options.refuse_foreign_checkpoint and error.code == FOREIGN_CHECKPOINT:
            raise
        message = f"{error.message}; training starts anew"
        hooks.warn("checkpoint_unusable", {"message": message})
    student.load_state_dict(start)  # a part of the checkpoint may have been loaded
    return _train(prepared, hooks, None, options.limits)


def _train(prepared: _Prepared, hooks: JobHooks, resume: bytes | None, limits: Limits) -> _Training:
    """Train until the end, a stop or a diverged loss. Raises Stopped or DivergedError without a student."""
    resumed = resume is not None
    try:
        result = distill(
            prepared.teacher.module, prepared.student, prepared.config, hooks, resume=resume, limits=limits
        )
    except (Stopped, DivergedError) as error:
        if error.result is None:
            raise
        return _Training(error.result, error, resumed)
    return _Training(result, None, resumed)
