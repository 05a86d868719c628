"""Detection of a model file's format from its content; its name does not matter."""

from __future__ import annotations

from pathlib import Path

from dfad_core.contract.containers import HEAD_BYTES, container_of, unknown_container
from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.formats import FORMATS
from dfad_core.formats.interface import reader

_EXPORT_HINT = "Save the weights instead: torch.save(model.state_dict(), 'teacher.pt')."
_REFUSALS = {
    "tar": ("Tar files are not supported.", "format_refused"),
    "gzip": ("Tar files are not supported.", "format_refused"),
    "legacy_torch": ("Files of torch.save before version 1.6 are not supported.", "format_refused"),
    "pickle": ("Bare pickles are not supported.", "unsafe_pickle"),
}
"""Message and code for a file in a container that no format recognises."""


def detect_format(path: Path) -> str:
    """The name of the format of the file at `path`, one of `TEACHER_FORMATS`.

    Raises TeacherRejected: `corrupt_file`, `format_refused` (TorchScript, .pt2, legacy tar),
    `compressed_archive`, `unsafe_pickle` (a bare pickle), `unsupported_format` (anything else).
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    container = container_of(head)
    if container is None:
        raise unknown_container(head)
    for row in FORMATS.values():
        possible = row.reads and (container == row.name or container in row.containers)
        if possible and reader(row.name).recognises(path):
            return row.name
    text, code = _REFUSALS.get(container, ("The archive contains no model.", "unsupported_format"))
    raise TeacherRejected(f"{text} {_EXPORT_HINT}", code=code)
