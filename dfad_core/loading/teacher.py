"""`load_teacher`: from a file that nobody has vouched for to a network in eval mode."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dfad_core.catalog import get_architecture
from dfad_core.config import InputConfig
from dfad_core.errors import ConfigError, ShapeError, TeacherRejected
from dfad_core.export.metadata import StudentMetadata
from dfad_core.loading.detect import detect_format
from dfad_core.loading.match import (
    default_shape,
    fit,
    head_classes,
    infer_architecture,
    infer_args,
    strip_prefixes,
)
from dfad_core.loading.safetensors_file import read_safetensors
from dfad_core.loading.state_dict_pt import read_state_dict_pt
from dfad_core.models import build_classifier


@dataclass
class LoadedTeacher:
    """A teacher, and what its file and the caller said of it."""

    module: nn.Module
    architecture: str
    args: dict[str, Any]
    num_classes: int
    input: InputConfig
    file_format: str
    notes: list[str] = field(default_factory=list)


def load_teacher(
    path: str | Path,
    *,
    architecture: str | None = None,
    num_classes: int | None = None,
    input: InputConfig | None = None,
    args: Mapping[str, Any] | None = None,
) -> LoadedTeacher:
    """Read the teacher at `path`; what the caller names wins over what the file says of itself.

    With no architecture named and none in the file, the catalogue is tried by names and shapes.
    Raises TeacherRejected with a code of its own for every way in which a file can be bad,
    `architecture_required` if nothing fits, and ConfigError for an unknown architecture.
    """
    path = Path(path)
    file_format = detect_format(path)
    tensors, notes, said = _read(path, file_format)
    tensors = strip_prefixes(tensors)
    if said is not None and architecture in (None, said.architecture):
        architecture, args = said.architecture, args or said.args
        num_classes, input = num_classes or said.num_classes, input or said.input
    elif architecture is None:
        inferred = infer_architecture(tensors, num_classes, input.shape if input else None)
        if inferred is None:
            raise TeacherRejected(
                "The file does not say which architecture it is, and its weights fit none or several "
                "of the catalogue; name it.",
                code="architecture_required",
                param="architecture",
            )
        architecture, args = inferred
        notes.append(f"inferred architecture {architecture}")
    entry = get_architecture(architecture)
    args = dict(args or infer_args(entry, tensors))
    classes = num_classes or head_classes(tensors)
    if classes is None:
        raise TeacherRejected("The file has no classifier head.", code="architecture_mismatch")
    input = input or InputConfig(default_shape(entry, tensors))
    try:
        module = build_classifier(architecture, num_classes=classes, input_shape=input.shape, args=args)
    except (ConfigError, ShapeError) as error:
        raise TeacherRejected(error.message, code="architecture_mismatch", param=error.param) from error
    fit(tensors, module, architecture)
    return LoadedTeacher(module.eval(), architecture, args, classes, input, file_format, notes)


def _read(path: Path, file_format: str) -> tuple[dict[str, Tensor], list[str], StudentMetadata | None]:
    if file_format == "state_dict_pt":
        tensors, notes = read_state_dict_pt(path)
        return tensors, notes, None
    tensors, metadata = read_safetensors(path)
    if not tensors:
        raise TeacherRejected("The file holds no tensor.", code="unsupported_format")
    try:
        return tensors, [], StudentMetadata.from_strings(metadata)
    except (json.JSONDecodeError, ValueError, TypeError, KeyError):
        return tensors, ["its dfad metadata cannot be read and is ignored"], None
