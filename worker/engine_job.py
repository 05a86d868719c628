"""One job as the engine sees it: teacher file and resolved spec in, student and figures out."""

from __future__ import annotations

import dataclasses
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

import dfad_core
from dfad_core.config import BudgetConfig, DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.errors import CheckpointError, DivergedError, Stopped, TeacherRejected
from dfad_core.evaluation.cost import cost
from dfad_core.evaluation.proof import proven
from dfad_core.export.metadata import StudentMetadata
from dfad_core.export.safetensors import student_bytes
from dfad_core.loading import LoadedTeacher, load_teacher
from dfad_core.loading.converted import read_converted
from dfad_core.methods import resolve_recipe
from dfad_core.methods.terms import bn_layers
from dfad_core.models import build_classifier
from dfad_core.report.card import render_report
from dfad_core.runtime import resolve
from dfad_core.trainer import DistillResult, distill
from worker.hooks import PipeHooks, png


@dataclass(frozen=True)
class Outcome:
    """What a run gives: the result for the job's row and the files."""

    result: dict[str, Any]
    student: bytes
    report: str
    samples: bytes | None
    steps: int
    stopped: bool
    error: DivergedError | None = None
    """Why there is no more than a partial student."""


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


def inspect(teacher: LoadedTeacher) -> dict[str, Any]:
    """What a teacher's file holds, as the inspection report of the contract."""
    figures = cost(teacher.module, teacher.input.shape)
    return {
        "architecture": teacher.architecture,
        "args": teacher.args,
        "num_classes": teacher.num_classes,
        "input": dataclasses.asdict(teacher.input),
        "format": teacher.file_format,
        **dataclasses.asdict(figures),
        "bn_layers": len(bn_layers(teacher.module)),
        "notes": teacher.notes,
    }


def run(
    path: Path, spec: dict[str, Any], hooks: PipeHooks, *, resume: bytes | None, checkpoint_seconds: float
) -> Outcome:
    """Distil and evaluate, from the converted teacher at `path`. Raises the engine's errors.

    A stop comes back as an Outcome, and so does a loss that diverged after some training.
    """
    hooks.phase("loading")
    teacher = read_converted(path)
    for note in teacher.notes:
        hooks.event("teacher_note", {"message": note, "level": "info"})
    config = config_of(spec, teacher, checkpoint_seconds)
    torch.manual_seed(config.seed)
    student = build_classifier(
        spec["student"]["architecture"],
        num_classes=teacher.num_classes,
        input_shape=teacher.input.shape,
        args=spec["student"]["args"],
    )
    try:
        done, ended = _distill(teacher.module, student, config, hooks, resume), None
    except (Stopped, DivergedError) as early:
        if early.result is None:
            raise
        done, ended = early.result, early
    hooks.phase("exporting")
    outcome = _outcome(teacher, student, config, spec, done, stopped=ended is not None)
    return dataclasses.replace(outcome, error=ended if isinstance(ended, DivergedError) else None)


def _distill(
    teacher: nn.Module, student: nn.Module, config: DistillConfig, hooks: PipeHooks, resume: bytes | None
) -> DistillResult:
    if resume is not None:
        try:
            return distill(teacher, student, config, hooks, resume=resume)
        except CheckpointError as error:
            hooks.event("checkpoint_unusable", {"message": f"{error.message}; training starts anew"})
            torch.manual_seed(config.seed)
            for module in student.modules():
                reset = getattr(module, "reset_parameters", None)
                if callable(reset):
                    reset()
    return distill(teacher, student, config, hooks)


def _outcome(
    teacher: LoadedTeacher,
    student: nn.Module,
    config: DistillConfig,
    spec: dict[str, Any],
    done: DistillResult,
    *,
    stopped: bool,
) -> Outcome:
    shape = teacher.input.shape
    sizes = {"teacher": cost(teacher.module, shape), "student": cost(student, shape)}
    names = {"teacher": teacher.architecture, "student": spec["student"]["architecture"]}
    runtime = resolve(config)
    recipe = resolve_recipe(config.method, teacher_has_bn=bool(bn_layers(teacher.module)))
    result: dict[str, Any] = {
        **{who: {"architecture": names[who], **dataclasses.asdict(sizes[who])} for who in sizes},
        "compression": round(sizes["teacher"].parameters / sizes["student"].parameters, 3),
        "fidelity": done.fidelity,
        "fidelity_proof": proven(),
        "accuracy": None,
        "training": {
            "method": config.method.name,
            "weights": dataclasses.asdict(recipe),
            "steps": done.steps,
            "seconds": round(done.seconds, 3),
            "device": str(runtime.device),
            "precision": runtime.precision,
            "threads": runtime.threads,
            "seed": config.seed,
            "complete": not stopped,
        },
        "events": done.events,
        "versions": {
            "dfad": dfad_core.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    metadata = StudentMetadata(
        names["student"],
        spec["student"]["args"],
        teacher.num_classes,
        teacher.input,
        {"method": config.method.name, "steps": done.steps, "seed": config.seed, "partial": stopped},
    )
    picture = None if done.samples is None else png(done.samples)
    report = render_report(
        result,
        history=done.history,
        samples_png=picture,
        title=f"{names['teacher']} to {names['student']}",
    )
    return Outcome(result, student_bytes(student, metadata), report, picture, done.steps, stopped)
