"""Reading a multipart body: one file and one JSON part, in constant memory.

Starlette spools the file to disk past 1 MiB; from there it goes to the store in pieces. Nothing is
stored before everything that can be checked has been checked.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from app.config import get_settings
from app.errors import FieldProblem, InvalidBody, ServiceError
from app.text import storable

PIECE_BYTES = 2**20
MAX_NAME_CHARACTERS = 255


@dataclass(frozen=True)
class Upload:
    """One uploaded teacher file and the JSON that came with it."""

    file: BinaryIO
    filename: str
    num_bytes: int
    sha256: str
    spec: bytes

    def pieces(self) -> Iterator[bytes]:
        """The file from its beginning."""
        self.file.seek(0)
        while piece := self.file.read(PIECE_BYTES):
            yield piece


def content_type(request: Request) -> str:
    """Without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported(accepted: str) -> ServiceError:
    """The answer to another content type."""
    return ServiceError(415, "unsupported_media_type", f"Send {accepted}.", headers={"Accept": accepted})


@asynccontextmanager
async def read_upload(request: Request, *, spec_required: bool) -> AsyncIterator[Upload]:
    """The request's `teacher` and `spec` parts; temporary files are gone at the end of the block."""
    limit = get_settings().max_json_bytes
    form = await _parsed(request, limit)
    try:
        spec = await _spec(form, limit, required=spec_required)
        teacher = _teacher(form)
        size, digest = await run_in_threadpool(_measure, teacher.file)
        if size == 0:
            raise InvalidBody(
                "The teacher file is empty.", FieldProblem("/teacher", "empty"), code="empty_file"
            )
        yield Upload(teacher.file, display_name(teacher.filename or ""), size, digest, spec)
    finally:
        await form.close()


async def _parsed(request: Request, limit: int) -> FormData:
    try:
        return await request.form(max_files=2, max_fields=2, max_part_size=limit)
    except HTTPException as error:
        # Starlette tells its refusals apart by their text alone.
        if "maximum size" in str(error.detail):
            text = f"A part that is no file is larger than {limit} bytes."
            raise ServiceError(413, "payload_too_large", text) from error
        raise
    except UnicodeError as error:  # from a charset that exists and is no way to write a name
        raise ServiceError(400, "malformed_multipart", "The body's charset cannot be used.") from error


def _teacher(form: FormData) -> UploadFile:
    parts = form.getlist("teacher")
    if not parts:
        raise InvalidBody(
            "There is no teacher part.", FieldProblem("/teacher", "missing"), code="missing_teacher"
        )
    _only(form, {"teacher", "spec"})
    if len(parts) > 1 or not isinstance(parts[0], UploadFile):
        raise InvalidBody("The teacher must be one file.", FieldProblem("/teacher", "not one file"))
    return parts[0]


async def _spec(form: FormData, limit: int, *, required: bool) -> bytes:
    parts = form.getlist("spec")
    if len(parts) > 1:
        raise InvalidBody("There are two spec parts.", FieldProblem("/spec", "twice"))
    if not parts:
        if required and "teacher" in form:
            raise InvalidBody("There is no spec part.", FieldProblem("/spec", "missing"), code="missing_spec")
        return b"{}"
    part = parts[0]
    if isinstance(part, str):
        return part.encode("utf-8", "surrogatepass")
    content = await part.read(limit + 1)
    if len(content) > limit:
        raise ServiceError(413, "payload_too_large", f"The spec is larger than {limit} bytes.")
    return content


def _only(form: FormData, known: set[str]) -> None:
    for name in form:
        if name not in known:
            problem = FieldProblem(f"/{name[:64]}", "No such part.")
            raise InvalidBody("The body has an unknown part.", problem, code="unknown_field")


def _measure(file: BinaryIO) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    file.seek(0)
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def display_name(name: str) -> str:
    """What people are shown of a client's file name; it is never used as a path."""
    control = any(ord(c) < 32 or c == "\x7f" for c in name)
    if len(name) > MAX_NAME_CHARACTERS or control or not storable(name):
        problem = FieldProblem("/teacher", "the file name is too long or has control characters")
        raise InvalidBody("The file name cannot be used.", problem)
    return name.replace("\\", "/").rpartition("/")[2] or "teacher"
