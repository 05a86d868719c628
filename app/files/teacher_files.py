"""A teacher's file, however it came here."""

from __future__ import annotations

from dataclasses import dataclass, field

from app.platform.errors import FieldProblem, InvalidBody
from app.platform.text import storable
from app.storage import Stored
from dfad_core.contract.containers import container_of, unknown_container

MAX_NAME_CHARACTERS = 255


@dataclass(frozen=True)
class TeacherFile:
    """Bytes that the store keeps, and what the client calls them."""

    blob_id: str
    stored: Stored
    filename: str
    from_upload: bool = field(default=False, kw_only=True)
    """Whether the bytes are those of an upload, which may be deleted at any time."""


def check_container(head: bytes, pointer: str) -> None:
    """Raise InvalidBody, with the code of an inspection, for first bytes that no reader of teachers takes."""
    if container_of(head) is None:
        refused = unknown_container(head)
        problem = FieldProblem(pointer, refused.message)
        raise InvalidBody("The teacher's file cannot be used.", problem, code=refused.code)


def display_name(name: str, pointer: str = "/teacher") -> str:
    """What people are shown of a client's file name; it is never used as a path."""
    control = any(ord(c) < 32 or c == "\x7f" for c in name)
    if len(name) > MAX_NAME_CHARACTERS or control or not storable(name):
        problem = FieldProblem(pointer, "the file name is too long or has control characters")
        raise InvalidBody("The file name cannot be used.", problem)
    return name.replace("\\", "/").rpartition("/")[2] or "teacher"
