"""Reading a multipart body: one file and one JSON part, in constant memory.

The file goes straight into the store as it arrives, and is hashed on the way: it is written once and never
read again. Its first bytes are looked at before any of it is stored. What is refused afterwards, or breaks
off, is forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO

import anyio
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.artifacts.blobs import forget
from app.config import get_settings
from app.errors import FieldProblem, InvalidBody, ServiceError
from app.ids import new_id
from app.storage import Stored, Writer, get_store
from app.teachers.files import TeacherFile, check_container, display_name
from dfad_core.contract.containers import HEAD_BYTES

PIECE_BYTES = 2**20
"""Handed to the store at once; what the network brings is smaller."""


@dataclass(frozen=True)
class Upload(TeacherFile):
    """One uploaded teacher file, which no row names yet, and the JSON that came with it."""

    spec: bytes


def content_type(request: Request) -> str:
    """Without parameters, in lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def unsupported(accepted: str) -> ServiceError:
    """The answer to another content type."""
    return ServiceError(415, "unsupported_media_type", f"Send {accepted}.", headers={"Accept": accepted})


class _Kept(UploadFile):
    """A file part on its way into the store."""

    def __init__(self, filename: str, headers: Headers) -> None:
        super().__init__(BytesIO(), size=0, filename=filename, headers=headers)
        self.blob_id = new_id("art")
        self._writer: Writer | None = None
        self._waiting = bytearray()
        #: As in Writer: a thread may still write when its request is over.
        self._lock, self._dropped = threading.Lock(), False

    async def write(self, data: bytes) -> None:
        """Pass on what is worth a thread's while."""
        self._waiting += data
        if len(self._waiting) >= PIECE_BYTES:
            await run_in_threadpool(self._pass_on)

    async def seek(self, offset: int) -> None:
        """What the parser calls at the end of the part."""
        await run_in_threadpool(self._pass_on)

    def _pass_on(self) -> None:
        with self._lock:
            if self._dropped:
                return
            if self._writer is None:
                # A piece is longer than a head, or all of the file; an empty file is refused as such.
                if self._waiting:
                    check_container(bytes(self._waiting[:HEAD_BYTES]), "/teacher")
                self._writer = get_store().writer(self.blob_id)
            self._writer.write(bytes(self._waiting))
            self._waiting.clear()

    def finish(self) -> Stored:
        """Keep the bytes."""
        assert self._writer is not None
        return self._writer.finish()

    def drop(self) -> None:
        """Forget the bytes, unless a row names them by now."""
        with self._lock:
            self._dropped = True
        if self._writer is not None:
            self._writer.abort()
            forget([self.blob_id])


class _Parser(MultiPartParser):
    """Starlette's, with teachers streamed to the store and not to a temporary file."""

    def __init__(self, request: Request, limit: int) -> None:
        super().__init__(request.headers, request.stream(), max_files=2, max_fields=2, max_part_size=limit)
        self.kept: list[_Kept] = []

    def on_headers_finished(self) -> None:
        """See MultiPartParser: here a part turns out to be a file."""
        super().on_headers_finished()
        part = self._current_part
        if part.file is not None and part.field_name == "teacher":
            part.file.file.close()
            part.file = _Kept(part.file.filename or "", part.file.headers)
            self.kept.append(part.file)


@asynccontextmanager
async def read_upload(request: Request, *, spec_required: bool) -> AsyncIterator[Upload]:
    """The request's `teacher` and `spec` parts. Bytes that no row names at the end of the block are gone."""
    limit = get_settings().max_json_bytes
    parser = _Parser(request, limit)
    form: FormData | None = None
    try:
        form = await _parsed(parser, limit)
        spec = await _spec(form, limit, required=spec_required)
        teacher = _teacher(form)
        name = display_name(teacher.filename or "")
        stored = await run_in_threadpool(teacher.finish)
        if stored.bytes == 0:
            raise InvalidBody(
                "The teacher file is empty.", FieldProblem("/teacher", "empty"), code="empty_file"
            )
        yield Upload(teacher.blob_id, stored, name, spec)
    finally:
        with anyio.CancelScope(shield=True):
            if form is not None:
                await form.close()
            for kept in parser.kept:
                await run_in_threadpool(kept.drop)


def _malformed() -> ServiceError:
    return ServiceError(400, "malformed_multipart", "The multipart body cannot be read.")


async def _parsed(parser: _Parser, limit: int) -> FormData:
    try:
        return await parser.parse()
    except MultiPartException as error:
        # Starlette tells its refusals apart by their text alone.
        if "maximum size" in error.message:
            text = f"A part that is no file is larger than {limit} bytes."
            raise ServiceError(413, "payload_too_large", text) from error
        raise _malformed() from error
    except UnicodeError as error:  # from a charset that exists and is no way to write a name
        raise ServiceError(400, "malformed_multipart", "The body's charset cannot be used.") from error


def _teacher(form: FormData) -> _Kept:
    parts = form.getlist("teacher")
    if not parts:
        raise InvalidBody(
            "There is no teacher part.", FieldProblem("/teacher", "missing"), code="missing_teacher"
        )
    _only(form, {"teacher", "spec"})
    if len(parts) > 1 or not isinstance(parts[0], _Kept):
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
