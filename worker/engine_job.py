"""One job as the engine sees it: teacher file and resolved spec in, student and figures out."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dfad_core.contract import layer_list, transformers_config
from dfad_core.contract.config import (
    BudgetConfig,
    DistillConfig,
    InputConfig,
    MethodConfig,
    TargetConfig,
    TrainingConfig,
)
from dfad_core.errors import CheckpointError, DivergedError, Stopped, TeacherRejected
from dfad_core.evaluation.inspection import inspected
from dfad_core.formats import LoadedTeacher, load_teacher
from dfad_core.formats.converted import read_converted
from dfad_core.formats.initial import begin_with
from dfad_core.formats.labelled import read_labelled
from dfad_core.formats.safetensors import read_safetensors
from dfad_core.job_result import (
    Outcome,
    Trained,
    later_seconds,
    network_costs,
    outcome,
    student_file,
    student_result,
)
from dfad_core.networks import build_classifier
from dfad_core.networks.cost import cost
from dfad_core.networks.derive import Derived, derive_student, offered_students
from dfad_core.training.trainer import DistillResult, distill
from worker.hooks import PipeHooks

if TYPE_CHECKING:
    from worker.conversion import Converted


def load(path: Path, spec: dict[str, Any]) -> LoadedTeacher:
    """The teacher of a spec's `teacher` part. Raises TeacherRejected or ConfigError."""
    given = spec.get("input")
    teacher = load_teacher(
        path,
        architecture=spec.get("architecture"),
        num_classes=spec.get("num_classes"),
        input=input_config(given) if given else None,
        args=spec.get("args") or None,
    )
    named = spec.get("format", "auto")
    if named not in ("auto", teacher.file_format):
        text = f"The file is {teacher.file_format}, not {named}."
        raise TeacherRejected(text, code="unsupported_format", param="format")
    return teacher


def input_config(given: dict[str, Any]) -> InputConfig:
    """From JSON, where tuples are lists."""
    channels, height, width = given["shape"]
    mean, std = (tuple(given[k]) if given.get(k) is not None else None for k in ("mean", "std"))
    return InputConfig((channels, height, width), mean, std)


def config_of(spec: dict[str, Any], teacher: LoadedTeacher, checkpoint_seconds: float) -> DistillConfig:
    """The engine's config of a resolved spec. Raises ConfigError."""
    return DistillConfig(
        input=teacher.input,
        num_classes=teacher.num_classes,
        method=MethodConfig(**spec["method"]),
        budget=BudgetConfig(**spec["budget"]),
        training=TrainingConfig(**spec["training"]),
        device=spec["device"],
        seed=spec["seed"],
        checkpoint_seconds=checkpoint_seconds,
    )


def inspect(teacher: LoadedTeacher, *, offers: bool) -> dict[str, Any]:
    """The inspection report of the contract; with `offers` it names students for the teacher."""
    shape, classes = teacher.input.shape, teacher.num_classes
    found = inspected(teacher.module, shape, classes)
    if offers:
        chosen = offered_students(
            teacher=teacher.architecture,
            teacher_args=teacher.args,
            teacher_parameters=found["parameters"],
            num_classes=classes,
            input_shape=shape,
        )
        found["students"] = [_offer(one, found["parameters"]) for one in chosen]
    return {
        "architecture": teacher.architecture,
        "args": teacher.args,
        "num_classes": teacher.num_classes,
        "input": dataclasses.asdict(teacher.input),
        "format": teacher.file_format,
        **found,
        "notes": teacher.notes,
    }


def _offer(student: Derived, teacher_parameters: int) -> dict[str, Any]:
    figures = dataclasses.asdict(student.cost)
    compression = round(teacher_parameters / student.cost.parameters, 2)
    return {
        "architecture": student.architecture,
        "args": student.args,
        **figures,
        "compression": compression,
    }


def run(
    files: Converted,
    spec: dict[str, Any],
    hooks: PipeHooks,
    *,
    resume: bytes | None,
    checkpoint_seconds: float,
) -> Outcome:
    """Distil and evaluate, from the converted files. Raises the engine's errors.

    The student goes to the hooks as soon as it is trained. A stop comes back as an Outcome, and so does a
    loss that diverged after some training.
    """
    hooks.phase("loading")
    teacher = read_converted(files.teacher)
    for note in teacher.notes:
        hooks.event("teacher_note", {"message": note, "level": "info"})
    config = config_of(spec, teacher, checkpoint_seconds)
    labelled = None
    if files.labelled is not None:
        labelled = read_labelled(files.labelled, teacher.input, teacher.num_classes)
    said: dict[str, Any] = {}
    student_spec = _student_spec(spec["student"], teacher, hooks, said)
    torch.manual_seed(config.seed)
    student = build_classifier(
        student_spec["architecture"],
        num_classes=teacher.num_classes,
        input_shape=teacher.input.shape,
        args=student_spec["args"],
    )
    if files.initial is not None:
        said["student_init"] = begin_with(student, read_safetensors(files.initial)[0])
        hooks.event("student_init", {**said["student_init"], "level": "info"})
    begun = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    costs = functools.cache(lambda: network_costs(teacher, student))  # once the engine knows that they fit

    def as_trained(done: DistillResult, complete: bool) -> Trained:
        return Trained(teacher, student, student_spec, config, done, not complete, costs(), labelled, said)

    def keep(done: DistillResult, complete: bool) -> None:
        trained = as_trained(done, complete)
        hooks.keep_student(student_file(trained), done.steps, student_result(trained), complete=complete)

    hooks.keep, hooks.later_seconds = keep, later_seconds(spec["exports"])
    try:
        done, ended = _distill(teacher.module, student, config, hooks, resume=resume, begun=begun), None
    except (Stopped, DivergedError) as early:
        if early.result is None:
            raise
        done, ended = early.result, early
    found = outcome(as_trained(done, ended is None), spec, hooks)
    return dataclasses.replace(found, error=ended if isinstance(ended, DivergedError) else None)


def _student_spec(
    asked: dict[str, Any], teacher: LoadedTeacher, hooks: PipeHooks, said: dict[str, Any]
) -> dict[str, Any]:
    """Architecture and arguments: as named, as a list of layers, or derived from a target."""
    if asked.get("layers") is not None:
        return {"architecture": layer_list.NAME, "args": {layer_list.NAME: asked["layers"]}}
    if asked.get("transformers") is not None:
        return {"architecture": transformers_config.NAME, "args": {"config": asked["transformers"]}}
    if asked.get("target") is None:
        return {"architecture": asked["architecture"], "args": asked["args"]}
    chosen = derive_student(
        TargetConfig(**asked["target"]),
        teacher=teacher.architecture,
        teacher_args=teacher.args,
        teacher_cost=cost(teacher.module, teacher.input.shape),
        num_classes=teacher.num_classes,
        input_shape=teacher.input.shape,
    )
    said["student_chosen"] = dataclasses.asdict(chosen)
    hooks.event("student_chosen", {**said["student_chosen"], "level": "info"})
    return {"architecture": chosen.architecture, "args": chosen.args}


def _distill(
    teacher: nn.Module,
    student: nn.Module,
    config: DistillConfig,
    hooks: PipeHooks,
    *,
    resume: bytes | None,
    begun: dict[str, Tensor],
) -> DistillResult:
    if resume is not None:
        try:
            return distill(teacher, student, config, hooks, resume=resume)
        except CheckpointError as error:
            hooks.event("checkpoint_unusable", {"message": f"{error.message}; training starts anew"})
            student.load_state_dict(begun)
    return distill(teacher, student, config, hooks)
