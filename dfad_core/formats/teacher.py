"""`load_teacher`: an untrusted file as a network in eval mode."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.formats import FORMATS
from dfad_core.formats.detect import detect_format
from dfad_core.formats.interface import Hints, LoadedTeacher, reader


def load_teacher(
    path: str | Path,
    *,
    architecture: str | None = None,
    num_classes: int | None = None,
    input: InputConfig | None = None,
    args: Mapping[str, Any] | None = None,
    output: str | None = None,
    weights: str | None = None,
) -> LoadedTeacher:
    """Read the teacher at `path`; the caller's arguments take precedence over the file's metadata.

    Without an architecture, the names and shapes of the tensors are compared with the catalogue. `weights`
    names one of several sets of tensors in the file, such as `ema`. A network with one logit z has two
    classes, whose logits are [0, z]. Raises TeacherRejected with a code for each kind of fault, among them
    `architecture_required` if nothing fits and `weights_required` if several sets of tensors do; ConfigError
    for an unknown architecture.
    """
    path = Path(path)
    num_classes = 2 if num_classes == 1 else num_classes
    file_format = detect_format(path)
    if weights is not None and not FORMATS[file_format].tensors_only:
        text = "The file has one set of weights; leave `weights` out."
        raise TeacherRejected(text, code="weights_unknown", param="weights")
    hints = Hints(architecture, num_classes, input, args, output=output, weights=weights)
    teacher = reader(file_format).load(path, hints)
    teacher.file_format = file_format
    return teacher
