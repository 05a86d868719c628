"""Initial weights of a student: from another run, a pretrained network or a part of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.formats import FORMATS
from dfad_core.formats.detect import detect_format
from dfad_core.formats.fitting import strip_prefixes
from dfad_core.formats.interface import tensor_reader
from dfad_core.formats.match import check_layouts
from dfad_core.formats.reparametrized import multiplied_out

MAX_LISTED = 20
"""Largest number of names in each list of the report."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a file in a format with `tensors_only`. Raises TeacherRejected with the usual codes."""
    file_format = detect_format(path)
    if not FORMATS[file_format].tensors_only:
        titles = [row.title for row in FORMATS.values() if row.tensors_only]
        text = f"Initial weights must be {' or '.join(titles)}."
        raise TeacherRejected(text, code="unsupported_format", param="student.init_from")
    tensors, _ = tensor_reader(file_format).read_tensors(path)
    check_layouts(tensors)
    return multiplied_out(strip_prefixes(tensors))[0]


def begin_with(student: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Copy into the student every tensor that has the name and shape of one of its own.

    Returns the fields of `InitialWeightsMatch`. Raises TeacherRejected: `init_mismatch` where no tensor
    fits, `nonfinite_weights` for values that are not finite.
    """
    state = student.state_dict()
    copied_names, other_shape, unknown = [], [], []
    for name, tensor in tensors.items():
        own = state.get(name)
        if own is None:
            unknown.append(name)
        elif own.shape != tensor.shape:
            other_shape.append(name)
        else:
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                text = f"The initial weights of {name[:200]} are not finite."
                raise TeacherRejected(text, code="nonfinite_weights", param="student.init_from")
            state[name] = tensor.to(own.dtype)
            copied_names.append(name)
    if not any(state[name].is_floating_point() for name in copied_names):
        text = "No tensor of the initial weights has the name and the shape of one of the student's."
        raise TeacherRejected(text, code="init_mismatch", param="student.init_from")
    student.load_state_dict(state)
    missing = sorted(set(state) - set(copied_names))
    return {
        "taken": len(copied_names),
        "of": len(state),
        "missing": missing[:MAX_LISTED],
        "other_shape": other_shape[:MAX_LISTED],
        "unknown": unknown[:MAX_LISTED],
    }
