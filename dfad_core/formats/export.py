"""A trained student in every format that was asked for, each checked before it is offered."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.errors import ExportError
from dfad_core.formats.check import TOLERANCE, Comparison, compare, require_same, run_onnx
from dfad_core.formats.huggingface import huggingface_bytes, read_huggingface
from dfad_core.formats.int8 import int8_bytes
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.onnx import OPSET, onnx_bytes
from dfad_core.formats.pt2 import pt2_bytes
from dfad_core.pace import Between, nothing, signs_of_life

FORMATS = ("onnx", "pt2", "int8", "huggingface")
"""Beside safetensors, which every student has."""
TYPICAL_SECONDS = {"onnx": 10.0, "pt2": 8.0, "int8": 10.0, "huggingface": 3.0}
"""About what one takes on two processor cores, for a network of some dozen layers."""


@dataclass(frozen=True)
class Export:
    """One file and what is known of it."""

    name: str
    content: bytes
    figures: dict[str, Any] = field(default_factory=dict)


def required(names: Sequence[str]) -> list[str]:
    """The formats that are made for `names`, in order: eight bits are made of ONNX."""
    return [name for name in FORMATS if name in names or (name == "onnx" and "int8" in names)]


def export(
    names: Sequence[str],
    student: nn.Module,
    teacher: nn.Module | None,
    metadata: StudentMetadata,
    synthetic_BCHW: Tensor,
    *,
    checked_images: int | None = None,
    failed: Callable[[str, str], None],
    between: Between = nothing,
    ready: Callable[[Export], object] = lambda _: None,
) -> list[Export]:
    """`synthetic_BCHW` are inputs that were not trained on: one half calibrates, the other one checks, or the
    first `checked_images` of it.

    Without a `teacher` nothing is said of how far eight bits agree with it.

    A format that cannot be had is told to `failed` (its name, why) and left out: the student is not lost
    for it. `ready` is called with each format as soon as it is checked; `between` between two batches of
    images and while an exporter runs, and may raise Stopped.
    """
    calibration, checked = synthetic_BCHW[::2], synthetic_BCHW[1::2][:checked_images]
    done: list[Export] = []
    onnx: bytes | None = None
    for name in required(names):
        between()
        try:
            if name == "onnx":
                made = _onnx(student, metadata, checked, between)
                onnx = made.content
            elif name == "pt2":
                made = _pt2(student, metadata, checked, between)
            elif name == "huggingface":
                made = _huggingface(student, metadata, checked, between)
            elif onnx is None:
                raise ExportError("There is no ONNX student to quantise.", param=name)
            else:
                made = _int8(student, teacher, onnx, (calibration, checked), between)
        except ExportError as error:
            failed(name, error.message)
            continue
        except ModuleNotFoundError as error:
            failed(name, f"{error.name} is missing; see the extras of dfad: onnx, worker, huggingface.")
            continue
        if name in names:
            done.append(made)
            ready(made)
    return done


def _onnx(student: nn.Module, metadata: StudentMetadata, checked: Tensor, between: Between) -> Export:
    with signs_of_life(between):
        content = onnx_bytes(student, metadata)
        run = run_onnx(content)
    found = require_same("onnx", student, run, checked, between)
    return Export("onnx", content, {"opset": OPSET, "tolerance": TOLERANCE, **_told(found)})


def _pt2(student: nn.Module, metadata: StudentMetadata, checked: Tensor, between: Between) -> Export:
    with signs_of_life(between):
        content = pt2_bytes(student, metadata)
        again = torch.export.load(io.BytesIO(content)).module()
    found = require_same("pt2", student, again, checked, between)
    return Export("pt2", content, {"tolerance": TOLERANCE, **_told(found)})


def _huggingface(student: nn.Module, metadata: StudentMetadata, checked: Tensor, between: Between) -> Export:
    with signs_of_life(between):
        content = huggingface_bytes(student, metadata)
        again = read_huggingface(content)
    found = require_same("huggingface", student, again, checked, between)
    return Export("huggingface", content, {"tolerance": TOLERANCE, **_told(found)})


def _int8(
    student: nn.Module,
    teacher: nn.Module | None,
    onnx: bytes,
    images: tuple[Tensor, Tensor],
    between: Between,
) -> Export:
    calibration, checked = images
    content = int8_bytes(onnx, calibration, between)
    with signs_of_life(between):
        run = run_onnx(content)
    # No tolerance: eight bits do change answers. How many is what its user has to know.
    figures = _told(compare(student.eval(), run, checked, between))
    if teacher is not None:
        figures["agreement_with_teacher"] = compare(teacher.eval(), run, checked, between).agreement
    figures["calibration_images"] = len(calibration)
    return Export("int8", content, figures)


def _told(found: Comparison) -> dict[str, Any]:
    return {
        "max_difference": found.max_difference,
        "agreement_with_student": found.agreement,
        "images": found.images,
    }
