"""`load_teacher`: from a file that nobody has vouched for to a network in eval mode."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import OneLogitRejected
from dfad_core.formats.detect import detect_format
from dfad_core.formats.interface import Hints, LoadedTeacher, reader


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
    path = Path(path)
    file_format = detect_format(path)
    teacher = reader(file_format).load(path, Hints(architecture, num_classes, input, args))
    teacher.file_format = file_format
    # Here and not in a format, so that a new one has it too.
    if teacher.num_classes < 2:
        raise OneLogitRejected
    return teacher
