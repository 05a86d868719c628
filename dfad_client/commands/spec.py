"""A job's spec from the command line: a file, and options that override what it says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


class UsageError(Exception):
    """The command line cannot be obeyed as it is; the text says why, in one line."""


def read_spec(file: str | None) -> dict[str, Any]:
    """The JSON object in `file` ("-": standard input); empty where none is named. Raises UsageError."""
    if file is None:
        return {}
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        spec = json.loads(text)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{file} is not JSON: {error}") from None
    if not isinstance(spec, dict):
        raise UsageError(f"{file} must hold a JSON object")
    return spec


def pairs(texts: list[str], option: str) -> dict[str, str]:
    """`["team=vision"]` as `{"team": "vision"}`. Raises UsageError."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(f"{option} takes KEY=VALUE, not {text!r}")
        found[name] = value
    return found


def student_args(pairs: list[str]) -> dict[str, int]:
    """`["width=8"]` as `{"width": 8}`. Raises UsageError."""
    args = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value.isascii() and value.lstrip("-").isdigit()):
            raise UsageError(f"--student-arg takes NAME=INTEGER, not {pair!r}")
        args[name] = int(value)
    return args


def teacher_part(
    architecture: str | None,
    weights: str | None,
    input: str | None,
    mean: str | None,
    std: str | None,
    output: str | None,
) -> dict[str, Any]:
    """The `teacher` of a spec, with what is named. Raises UsageError."""
    part = {
        "architecture": architecture,
        "weights": weights,
        "input": teacher_input(input, mean, std),
        "output": output,
    }
    return {name: value for name, value in part.items() if value is not None}


def teacher_input(text: str | None, mean: str | None, std: str | None) -> dict[str, Any] | None:
    """`("3x32x32", "0.5", "0.25")` as {"shape": [3, 32, 32], "mean": [0.5, 0.5, 0.5], "std": …}.

    A text that begins with a brace is JSON already. Raises UsageError.
    """
    if text is None:
        if mean is not None or std is not None:
            raise UsageError("--mean and --std need --input, e.g. --input 3x224x224")
        return None
    if text.lstrip().startswith("{"):
        try:
            given: dict[str, Any] = json.loads(text)
        except ValueError as error:
            raise UsageError(f"--input is not JSON: {error}") from None
    else:
        sides = text.lower().replace("×", "x").split("x")
        if len(sides) != 3 or not all(side.strip().isdecimal() and side.isascii() for side in sides):
            raise UsageError(f"--input takes channels, height and width, as in 3x224x224, not {text!r}")
        given = {"shape": [int(side) for side in sides]}
    channels = given["shape"][0] if isinstance(given.get("shape"), list) and given["shape"] else 1
    for name, values in (("mean", mean), ("std", std)):
        if values is not None:
            given[name] = _numbers(values, f"--{name}", channels)
    return given


def _numbers(text: str, option: str, channels: Any) -> list[float]:
    """`"0.5, 0.4, 0.3"` as numbers; a single one is for every channel. Raises UsageError."""
    try:
        numbers = [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        numbers = []
    if not numbers:
        raise UsageError(f"{option} takes a number for each channel, as in 0.485,0.456,0.406, not {text!r}")
    return numbers * channels if len(numbers) == 1 and isinstance(channels, int) else numbers


def build_spec(
    file: str | None,
    *,
    teacher: dict[str, Any] | None = None,
    student: str | None = None,
    args: dict[str, int] | None = None,
    method: str | None = None,
    steps: int | None = None,
    seed: int | None = None,
    target: dict[str, int | None] | None = None,
    exports: list[str] | None = None,
    metadata: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The spec to send. Options win over the file; a new student drops the old one's arguments.

    Whether the values make sense is for the server to say. Raises UsageError without a student.
    """
    spec = read_spec(file)
    if teacher:
        part_of(spec, "teacher").update(teacher)
    if student is not None and part_of(spec, "student").get("architecture") != student:
        spec["student"] = {"architecture": student}
    limits = {name: value for name, value in (target or {}).items() if value is not None}
    if limits:
        if student is not None or args:
            raise UsageError("name a student or what it may cost (--max-…), not both")
        spec["student"] = {"target": limits}
    if args:
        part_of(part_of(spec, "student"), "args").update(args)
    if method is not None:
        part_of(spec, "method")["name"] = method
    if steps is not None:
        part_of(spec, "budget")["steps"] = steps
    if exports:
        spec["exports"] = exports
    if metadata:
        part_of(spec, "metadata").update(metadata)
    if seed is not None:
        spec["seed"] = seed
    if "student" not in spec:
        text = "name the student: --student NAME, --max-parameters NUMBER, or a spec file with a student"
        raise UsageError(text)
    return spec


def part_of(spec: dict[str, Any], name: str) -> dict[str, Any]:
    """A nested object, made where it is missing. Raises UsageError where the file has something else."""
    part = spec.setdefault(name, {})
    if not isinstance(part, dict):
        raise UsageError(f"{name!r} in the spec must be an object")
    return part
