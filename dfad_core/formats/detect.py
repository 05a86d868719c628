"""Detection of a model file's format from its content; its name does not matter."""

from __future__ import annotations

from pathlib import Path

from dfad_core.contract.containers import HEAD_BYTES, container_of, unknown_container
from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.formats import FORMATS
from dfad_core.contract.own_network import OWN_NETWORK
from dfad_core.formats.interface import reader

_TAR_TEXT = (
    "The tar file contains no ONNX model and no folder with a config.json. Unpack it, and send the model's "
    "file alone."
)
_REFUSALS = {
    "tar": (_TAR_TEXT, "format_refused"),
    "gzip": (_TAR_TEXT, "format_refused"),
    "pickle": (f"Bare pickles are not supported. {OWN_NETWORK}", "unsafe_pickle"),
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
    text, code = _REFUSALS.get(
        container, (f"The archive contains no model. {OWN_NETWORK}", "unsupported_format")
    )
    raise TeacherRejected(text, code=code)
