"""`load_teacher`: from a file that nobody has vouched for to a network in eval mode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from dfad_core.contract.architectures import get_architecture
from dfad_core.contract.config import InputConfig
from dfad_core.errors import OneLogitRejected, TeacherRejected
from dfad_core.formats.detect import detect_format
from dfad_core.formats.huggingface_teacher import HuggingFaceSource, load_huggingface
from dfad_core.formats.match import (
    build_with,
    check_layouts,
    closest,
    default_shape,
    infer_architecture,
    infer_args,
    num_logits,
    strip_prefixes,
)
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.onnx_teacher import ARCHITECTURE, Source, load_onnx
from dfad_core.formats.safetensors_file import read_safetensors
from dfad_core.formats.state_dict import read_state_dict_pt


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
    source: Source | HuggingFaceSource | None = None
    """Of a network that is no architecture of the catalogue."""


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
    `architecture_required` if nothing fits, `one_logit` for a network that gives one, and ConfigError for an
    unknown architecture.
    """
    teacher = _load(Path(path), architecture, num_classes, input, args)
    # Here and not in a format, so that a new one has it too.
    if teacher.num_classes < 2:
        raise OneLogitRejected
    return teacher


def _load(
    path: Path,
    architecture: str | None,
    num_classes: int | None,
    input: InputConfig | None,
    args: Mapping[str, Any] | None,
) -> LoadedTeacher:
    """See `load_teacher`; of any number of logits."""
    file_format = detect_format(path)
    if file_format == "onnx":
        if architecture is not None:
            raise TeacherRejected(
                "An ONNX file is its own architecture; name none.",
                code="architecture_mismatch",
                param="architecture",
            )
        network, source, known, given, notes = load_onnx(path, num_classes, input)
        return LoadedTeacher(network, ARCHITECTURE, {}, known, given, file_format, notes, source)
    if file_format == "huggingface":
        if architecture is not None:
            raise TeacherRejected(
                "A Hugging Face folder is its own architecture; name none.",
                code="architecture_mismatch",
                param="architecture",
            )
        folder, origin, known, given, notes = load_huggingface(path, num_classes, input)
        named = f"huggingface:{origin.config['model_type']}"
        return LoadedTeacher(folder, named, {}, known, given, file_format, notes, origin)
    tensors, notes, said = _read(path, file_format)
    check_layouts(tensors)
    tensors = strip_prefixes(tensors)
    if said is not None and architecture in (None, said.architecture):
        architecture, args = said.architecture, args or said.args
        num_classes, input = num_classes or said.num_classes, input or said.input
    elif architecture is None:
        inferred = infer_architecture(tensors, num_classes, input.shape if input else None)
        if inferred is None:
            near = closest(tensors, num_classes, input.shape if input else None)
            raise TeacherRejected(
                "The file does not say which architecture it is, and its weights fit none or several "
                f"of the catalogue; name it.{' The closest: ' if near else ''}{' '.join(near)}",
                code="architecture_required",
                param="architecture",
            )
        architecture, args = inferred
        notes.append(f"inferred architecture {architecture}")
    entry = get_architecture(architecture)
    args = dict(args or infer_args(entry, tensors))
    shape = input.shape if input else default_shape(entry, tensors)
    classes = num_logits(entry, tensors, num_classes)
    module = build_with(tensors, architecture, num_classes=classes, input_shape=shape, args=args)
    assert classes is not None, "a network that fits has a head"
    return LoadedTeacher(module, architecture, args, classes, input or InputConfig(shape), file_format, notes)


def _read(path: Path, file_format: str) -> tuple[dict[str, Tensor], list[str], StudentMetadata | None]:
    if file_format == "state_dict_pt":
        tensors, notes = read_state_dict_pt(path)
        return tensors, notes, None
    tensors, metadata = read_safetensors(path)
    if not tensors:
        raise TeacherRejected("The file holds no tensor.", code="unsupported_format")
    try:
        return tensors, [], StudentMetadata.from_strings(metadata)
    except ValueError:
        return tensors, ["its dfad metadata cannot be read and is ignored"], None
