"""The arguments of `distill` as the inputs and the spec of a job."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from dfad_core.cli.lines import UNLIMITED_STEPS
from dfad_core.contract.config import BudgetConfig, MethodConfig
from dfad_core.contract.errors import ConfigError
from dfad_core.contract.formats import EXPORTS, STUDENT_FORMATS
from dfad_core.contract.job_spec import JobSpec, StudentSpec, TeacherSpec
from dfad_core.job import JobInputs

SUFFIX = ".safetensors"
INPUT_ENTRIES = {"shape", "mean", "std"}


def job_inputs(arguments: argparse.Namespace) -> JobInputs:
    """The files; none of them is opened here."""
    return JobInputs(arguments.teacher, arguments.init_from, arguments.evaluate_on)


def job_spec(arguments: argparse.Namespace) -> JobSpec:
    """Everything else that decides what the student is. Raises ConfigError, OSError for a missing file."""
    if unknown := set(arguments.exports) - set(STUDENT_FORMATS):
        text = f"unknown format {min(unknown)!r} (known: {', '.join(EXPORTS)})"
        raise ConfigError(text, param="exports")
    source = arguments.input
    if isinstance(source, dict) and (entries := set(source) - INPUT_ENTRIES):
        raise ConfigError(
            f"has no entry {min(entries)!r}; it takes {', '.join(sorted(INPUT_ENTRIES))}", param="input"
        )
    student = {
        "architecture": arguments.student,
        "args": arguments.student_args,
        "layers": _json_file(arguments.layers, "layers", list),
        "transformers": _json_file(arguments.transformers, "transformers", dict),
        "target": arguments.target,
    }
    teacher = {
        "architecture": arguments.architecture,
        "weights": arguments.weights,
        "num_classes": arguments.num_classes,
        "input": source,
        "output": arguments.teacher_output,
    }
    return JobSpec(
        StudentSpec.from_json(student),
        TeacherSpec.from_json(teacher),
        MethodConfig(name=arguments.method),
        _budget(arguments),
        exports=tuple(arguments.exports),
        device=arguments.device,
        seed=arguments.seed,
    )


def check_output(arguments: argparse.Namespace) -> None:
    """Raise ConfigError where the student cannot be written; make its folder."""
    output: Path = arguments.output
    if output.suffix != SUFFIX:
        raise ConfigError(f"the student is a {SUFFIX} file", param="output")
    if output.exists() and arguments.teacher.exists() and output.samefile(arguments.teacher):
        raise ConfigError("the student would overwrite its teacher; name another file", param="output")
    if arguments.resume is not None and arguments.resume.exists() and not arguments.resume.is_dir():
        raise ConfigError(f"{arguments.resume} is not a folder", param="resume")
    output.parent.mkdir(parents=True, exist_ok=True)


def _budget(arguments: argparse.Namespace) -> BudgetConfig:
    steps = arguments.steps
    if arguments.seconds is None:
        return BudgetConfig() if steps is None else BudgetConfig(steps=steps)
    return BudgetConfig(steps=UNLIMITED_STEPS if steps is None else steps, train_seconds=arguments.seconds)


def _json_file(path: Path | None, param: str, kind: type) -> Any:
    """The JSON in the file `path`, a list or an object as `kind` says. Raises ConfigError, OSError."""
    if path is None:
        return None
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"{path} is not JSON: {error}", param=param) from error
    if not isinstance(data, kind):
        raise ConfigError(f"{path} must hold {'a list' if kind is list else 'an object'}", param=param)
    return data
