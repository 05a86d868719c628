"""Students as safetensors files that carry their architecture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from dfad_core.contract.config import InputConfig
from dfad_core.errors import TeacherRejected
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.whole_file import write_whole


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
    """The network in the file, in eval mode; `module.dfad_metadata` holds what the file says.

    Raises TeacherRejected: `unsupported_format` for a file that this project did not write, else the
    codes of `load_teacher`.
    """
    from dfad_core.formats.detect import detect_format
    from dfad_core.formats.match import build_with
    from dfad_core.formats.safetensors_file import read_safetensors

    path = Path(path)
    if detect_format(path) != "safetensors":
        raise TeacherRejected("Students are safetensors files.", code="unsupported_format")
    tensors, strings = read_safetensors(path)
    try:
        metadata = StudentMetadata.from_strings(strings)
    except ValueError as error:
        raise TeacherRejected("What the file says of itself is garbled.", code="corrupt_file") from error
    if metadata is None:
        raise TeacherRejected("The file does not say which student it is.", code="unsupported_format")
    module = build_with(
        tensors,
        metadata.architecture,
        num_classes=metadata.num_classes,
        input_shape=metadata.input.shape,
        args=metadata.args,
    )
    module.dfad_metadata = metadata  # type: ignore[assignment]
    return module
