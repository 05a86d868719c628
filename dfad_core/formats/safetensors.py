"""Safetensors: reading tensors and teachers, and students as files that contain their architecture."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.formats import DEFAULT, SAFETENSORS_LENGTH_BYTES
from dfad_core.formats.class_names import found_in_strings
from dfad_core.formats.detect import detect_format
from dfad_core.formats.fitting import load_fitting
from dfad_core.formats.interface import Hints, LoadedTeacher
from dfad_core.formats.match import build_with
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.whole_file import write_whole

MAX_HEADER_BYTES = 100_000_000


def recognises(path: Path) -> bool:
    """True. Raises TeacherRejected (`corrupt_file`) for a header longer than the file or the limit."""
    most = min(MAX_HEADER_BYTES, path.stat().st_size - SAFETENSORS_LENGTH_BYTES)
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(SAFETENSORS_LENGTH_BYTES), "little")
    if header_bytes > most:
        text = "The safetensors header is longer than the file or than the limit."
        raise TeacherRejected(text, code="corrupt_file")
    return True


def load(path: Path, hints: Hints) -> LoadedTeacher:
    """A network of the catalogue: the one that the file's metadata name, or the one that its tensors fit.

    Raises TeacherRejected: the codes of `read_safetensors` and `load_fitting`.
    """
    tensors, strings = read_safetensors(path)
    if not tensors:
        raise TeacherRejected("The file contains no tensor.", code="unsupported_format")
    notes: list[str] = []
    metadata = None
    try:
        metadata = StudentMetadata.from_strings(strings)
    except ValueError:
        notes.append("its dfad metadata cannot be read and is ignored")
    teacher = load_fitting(tensors, hints, metadata, notes)
    teacher.class_names = found_in_strings(strings, teacher.num_classes)
    return teacher


def read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors by name, and no notes: nothing is left out. Raises TeacherRejected (`corrupt_file`)."""
    return read_safetensors(path)[0], []


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of the file. Raises TeacherRejected (`corrupt_file`)."""
    _refuse_duplicate_keys(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
        return load_file(path), metadata
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise TeacherRejected(
            "The safetensors file is damaged or incomplete.", code="corrupt_file"
        ) from error


def _refuse_duplicate_keys(path: Path) -> None:
    """Raise TeacherRejected for a name that occurs twice; the library would use the last one."""

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        entries = dict(pairs)
        if len(entries) != len(pairs):
            raise TeacherRejected("The safetensors header names a tensor twice.", code="corrupt_file")
        return entries

    with path.open("rb") as file:
        length = int.from_bytes(file.read(SAFETENSORS_LENGTH_BYTES), "little")
        header = file.read(length)
    try:
        json.loads(header, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise TeacherRejected("The safetensors header is not valid JSON.", code="corrupt_file") from error


def student_bytes(module: nn.Module, metadata: StudentMetadata) -> bytes:
    """The file's content: every tensor of the state, float32 as trained, and the metadata."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in module.state_dict().items()}
    return save(tensors, metadata.to_strings())


def save_student(
    path: str | Path,
    module: nn.Module,
    *,
    architecture: str,
    args: Mapping[str, Any] | None = None,
    num_classes: int,
    input: InputConfig,
    extra: Mapping[str, Any] | None = None,
) -> None:
    """Write `module` to `path`, whole or not at all."""
    metadata = StudentMetadata(architecture, dict(args or {}), num_classes, input, dict(extra or {}))
    write_whole(Path(path), student_bytes(module, metadata))


def load_student(path: str | Path) -> nn.Module:
    """The network in the file, in eval mode; `module.dfad_metadata` holds the file's StudentMetadata.

    Raises TeacherRejected: `unsupported_format` for a file that this project did not write, else the
    codes of `load_teacher`.
    """
    path = Path(path)
    if detect_format(path) != DEFAULT:
        raise TeacherRejected("Students are safetensors files.", code="unsupported_format")
    tensors, strings = read_safetensors(path)
    try:
        metadata = StudentMetadata.from_strings(strings)
    except ValueError as error:
        raise TeacherRejected(
            "The metadata of the student's file are invalid.", code="corrupt_file"
        ) from error
    if metadata is None:
        raise TeacherRejected("The file does not name the student's architecture.", code="unsupported_format")
    module = build_with(
        tensors,
        metadata.architecture,
        num_classes=metadata.num_classes,
        input_shape=metadata.input.shape,
        args=metadata.args,
    )
    module.dfad_metadata = metadata  # type: ignore[assignment]
    return module
