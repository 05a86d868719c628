"""`distill`: from a teacher's file to a student's file and a report, in this process."""

from __future__ import annotations

import argparse
import dataclasses
import functools
from pathlib import Path
from typing import Any

import torch
from torch import nn

from dfad_core.cli.lines import MOST_STEPS, Interrupt, LineHooks, Lines
from dfad_core.contract.config import BudgetConfig, DistillConfig, MethodConfig, TargetConfig
from dfad_core.contract.formats import EXPORTS, STUDENT_FORMATS
from dfad_core.errors import ConfigError, DfadError, DivergedError, Stopped
from dfad_core.formats import LoadedTeacher, load_teacher
from dfad_core.formats.initial import begin_with, read_weights
from dfad_core.formats.labelled import read_labelled_file
from dfad_core.formats.safetensors import save_student
from dfad_core.job_result import (
    Outcome,
    Trained,
    later_seconds,
    network_costs,
    outcome,
    student_metadata,
)
from dfad_core.networks import build_classifier
from dfad_core.networks.cost import cost
from dfad_core.networks.derive import derive_student
from dfad_core.training.trainer import DistillResult, distill

OK, FAILED, INTERRUPTED = 0, 1, 130
SUFFIX = ".safetensors"


def run(given: argparse.Namespace, lines: Lines, interrupt: Interrupt) -> int:
    """Train, keep the student before anything else, then measure, export and report.

    Raises the engine's errors.
    """
    _check(given)
    hooks = LineHooks(lines, interrupt)
    hooks.phase("loading")
    teacher = load_teacher(given.teacher, architecture=given.architecture)
    for note in teacher.notes:
        hooks.event("teacher_note", {"message": note, "level": "info"})
    config = _config(given, teacher)
    labelled = None
    if given.evaluate_on is not None:
        labelled = read_labelled_file(given.evaluate_on, teacher.input, teacher.num_classes)
    said: dict[str, Any] = {}
    asked = _student(given, teacher, said)
    student = _built(asked, teacher, config.seed)
    if given.init_from is not None:
        said["student_init"] = begin_with(student, read_weights(given.init_from))
    interrupt.check()
    costs = functools.cache(lambda: network_costs(teacher, student))  # once the engine knows that they fit

    def as_trained(done: DistillResult, complete: bool) -> Trained:
        return Trained(teacher, student, asked, config, done, not complete, costs(), labelled, said)

    hooks.keep = lambda done, complete: _keep(as_trained(done, complete), given.output)
    hooks.later_seconds = later_seconds(given.exports)
    done, ended = _trained(teacher.module, student, config, hooks)
    written = [given.output]
    result: dict[str, Any] | None = None
    if not interrupt.asked:
        found = outcome(as_trained(done, ended is None), _settings(given, config, asked), hooks)
        result = found.result
        written += _write(found, given.output)
    if interrupt.asked and ended is None:
        hooks.event(
            "not_measured", {"message": "interrupted; the student is kept, not all of it is measured"}
        )
    about = {
        "student": str(given.output),
        "report": next((str(path) for path in written if path.name.endswith("report.html")), None),
        "files": [str(path) for path in written],
        "partial": ended is not None,
        "steps": done.steps,
        "seconds": round(done.seconds, 3),
        "result": result,
    }
    lines.tell("result", about)
    return _told(ended, interrupt, lines)


def _told(ended: DfadError | None, interrupt: Interrupt, lines: Lines) -> int:
    """The exit code; a loss that diverged is told although there is a student of before."""
    if isinstance(ended, DivergedError):
        lines.tell("error", {"code": ended.code, "message": ended.message, "param": None})
        return FAILED
    return INTERRUPTED if interrupt.asked else OK


def _check(given: argparse.Namespace) -> None:
    """What can be known before torch has anything to do."""
    if given.output.suffix != SUFFIX:
        raise ConfigError(f"the student is a {SUFFIX} file", param="output")
    if given.output.exists() and given.teacher.exists() and given.output.samefile(given.teacher):
        raise ConfigError("the student would overwrite its teacher; name another file", param="output")
    if unknown := set(given.exports) - set(STUDENT_FORMATS):
        text = f"unknown format {min(unknown)!r} (known: {', '.join(EXPORTS)})"
        raise ConfigError(text, param="exports")
    given.output.parent.mkdir(parents=True, exist_ok=True)


def _config(given: argparse.Namespace, teacher: LoadedTeacher) -> DistillConfig:
    budget = BudgetConfig(steps=given.steps) if given.steps is not None else BudgetConfig()
    if given.seconds is not None:
        steps = given.steps if given.steps is not None else MOST_STEPS
        budget = BudgetConfig(steps=steps, train_seconds=given.seconds)
    return DistillConfig(
        input=teacher.input,
        num_classes=teacher.num_classes,
        method=MethodConfig(name=given.method),
        budget=budget,
        device=_device(given.device),
        seed=given.seed,
        progress_seconds=0.5,
        # Nobody goes on with what a closed terminal left; the student itself is kept.
        checkpoint_seconds=86_400,
    )


def _device(name: str) -> Any:
    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError("device is auto, cpu or cuda", param="device")
    return name


def _student(given: argparse.Namespace, teacher: LoadedTeacher, said: dict[str, Any]) -> dict[str, Any]:
    """Architecture and arguments, as named or derived from what it may cost."""
    if (given.student is None) == (given.target is None):
        raise ConfigError("name a student or what it may cost", param="student")
    if given.student is not None:
        return {"architecture": given.student, "args": dict(given.student_args)}
    chosen = derive_student(
        TargetConfig(**given.target),
        teacher=teacher.architecture,
        teacher_args=teacher.args,
        teacher_cost=cost(teacher.module, teacher.input.shape),
        num_classes=teacher.num_classes,
        input_shape=teacher.input.shape,
    )
    said["student_chosen"] = dataclasses.asdict(chosen)
    return {"architecture": chosen.architecture, "args": chosen.args}


def _built(asked: dict[str, Any], teacher: LoadedTeacher, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_classifier(
        asked["architecture"],
        num_classes=teacher.num_classes,
        input_shape=teacher.input.shape,
        args=asked["args"],
    )


def _trained(
    teacher: nn.Module, student: nn.Module, config: DistillConfig, hooks: LineHooks
) -> tuple[DistillResult, DfadError | None]:
    """What came out, and what ended it early if something did. Raises where nothing came out."""
    try:
        return distill(teacher, student, config, hooks), None
    except (Stopped, DivergedError) as early:
        if early.result is None:
            raise
        return early.result, early


def _keep(trained: Trained, path: Path) -> None:
    """The student first: whatever happens to evaluation, exports and report, it is there."""
    about = student_metadata(trained)
    save_student(
        path,
        trained.student,
        architecture=about.architecture,
        args=about.args,
        num_classes=about.num_classes,
        input=about.input,
        extra=about.extra,
    )


def _settings(given: argparse.Namespace, config: DistillConfig, asked: dict[str, Any]) -> dict[str, Any]:
    """What was asked for, as a job's spec would say it."""
    return {
        "student": asked,
        "method": dataclasses.asdict(config.method),
        "budget": dataclasses.asdict(config.budget),
        "training": dataclasses.asdict(config.training),
        "exports": list(given.exports),
        "device": config.device,
        "seed": config.seed,
    }


def _write(found: Outcome, student: Path) -> list[Path]:
    """The other files beside the student; named after it unless it has the usual name."""
    written = []
    for made in found.files:
        name = made.filename
        if student.stem != "student":
            name = name.replace("student", student.stem, 1) if "student" in name else f"{student.stem}.{name}"
        path = student.with_name(name)
        path.write_bytes(made.content)
        written.append(path)
    return written
