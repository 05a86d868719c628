"""Students as safetensors files that carry their architecture."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import nn

from dfad_core.config import InputConfig
from dfad_core.errors import TeacherRejected
from dfad_core.export.metadata import StudentMetadata


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
    path = Path(path)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            file.write(student_bytes(module, metadata))
            file.flush()
            os.fsync(file.fileno())
            Path(file.name).replace(path)
        except BaseException:
            Path(file.name).unlink(missing_ok=True)
            raise


def load_student(path: str | Path) -> nn.Module:
    """The network in the file, in eval mode; `module.dfad_metadata` holds what the file says.

    Raises TeacherRejected (`corrupt_file`, `architecture_mismatch`, `unsupported_format`).
    """
    from dfad_core.loading.match import fit
    from dfad_core.loading.safetensors_file import read_safetensors
    from dfad_core.models import build_classifier

    tensors, strings = read_safetensors(Path(path))
    metadata = StudentMetadata.from_strings(strings)
    if metadata is None:
        raise TeacherRejected("The file does not say which student it is.", code="unsupported_format")
    module = build_classifier(
        metadata.architecture,
        num_classes=metadata.num_classes,
        input_shape=metadata.input.shape,
        args=metadata.args,
    )
    fit(tensors, module, metadata.architecture)
    module.dfad_metadata = metadata  # type: ignore[assignment]
    return module.eval()
