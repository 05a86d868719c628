"""Reading a multipart body: one file and one JSON part, in constant memory.

The file goes straight into the store as it arrives, and is hashed on the way: it is written once and never
read again. Its first bytes are looked at before any of it is stored. What is refused afterwards, or breaks
off, is forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BytesIO

import anyio
from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from app.files.artifacts.blobs import forget
from app.files.incoming import Incoming, receiving
from app.files.teacher_files import TeacherFile, check_container, display_name
from app.platform.errors import FieldProblem, InvalidBody, ServiceError
from app.platform.settings import get_settings
from app.storage import Stored, Writer, get_store
from dfad_core.contract.containers import HEAD_BYTES

PIECE_BYTES = 2**20
"""Handed to the store at once; what the network brings is smaller."""
PARTS = ("teacher", "spec")
NewWriter = Callable[[str], Writer]
"""A way in for the bytes of the blob with that id."""


@dataclass(frozen=True)
class Upload(TeacherFile):
    """One uploaded teacher file, which no row names yet, and the JSON that came with it."""

    spec: bytes


class _Unstored(Writer):
    """Bytes of a dry run: they are looked at and not kept."""

    def _take(self, piece: bytes) -> None: ...

    def _keep(self) -> None: ...

    def _forget(self) -> None: ...


def _unstored(_blob_id: str) -> Writer:
    return _Unstored()


class _File(UploadFile):
    """The teacher's part on its way into the store."""

    def __init__(self, filename: str, headers: Headers, incoming: Incoming, writer: NewWriter) -> None:
        super().__init__(BytesIO(), size=0, filename=filename, headers=headers)
        self._incoming, self._new_writer = incoming, writer
        self._writer: Writer | None = None
        self._waiting = bytearray()
        #: As in Writer: a thread may still write when its request is over.
        self._lock, self._dropped = threading.Lock(), False

    async def write(self, data: bytes) -> None:
        """Pass on what is worth a thread's while. Raises ServiceError 429 past the tenant's quota."""
        await self._incoming.add(len(data))
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
                self._writer = self._new_writer(self._incoming.blob_id)
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
            if not isinstance(self._writer, _Unstored):
                self._incoming.left = not forget([self._incoming.blob_id])


class _Text(UploadFile):
    """The spec's part where it has a file's name: it is held in memory all the same."""

    def __init__(self, filename: str, headers: Headers, limit: int) -> None:
        super().__init__(BytesIO(), size=0, filename=filename, headers=headers)
        self._limit, self.content = limit, bytearray()

    async def write(self, data: bytes) -> None:
        """Raises ServiceError 413 past the limit."""
        if len(self.content) + len(data) > self._limit:
            raise _too_large(self._limit)
        self.content += data

    async def seek(self, offset: int) -> None:
        """What the parser calls at the end of the part."""


class _Parser(MultiPartParser):
    """Starlette's, but for its temporary files: the teacher goes to the store, the spec stays in memory.

    A part that is not wanted is refused at its beginning.
    """

    def __init__(self, request: Request, limit: int, incoming: Incoming, writer: NewWriter) -> None:
        # One part more than is ever taken: it is refused here, by its name.
        most = len(PARTS) + 1
        super().__init__(
            request.headers, request.stream(), max_files=most, max_fields=most, max_part_size=limit
        )
        self._incoming, self._writer = incoming, writer
        self._begun: set[str] = set()
        self.file: _File | None = None

    def on_headers_finished(self) -> None:
        """See MultiPartParser: here it turns out what a part is. Raises InvalidBody."""
        super().on_headers_finished()
        part = self._current_part
        if part.file is not None:
            part.file.file.close()
        self._check(part.field_name, is_file=part.file is not None)
        if part.file is None:
            return
        name, headers = part.file.filename or "", part.file.headers
        if part.field_name == "teacher":
            part.file = self.file = _File(name, headers, self._incoming, self._writer)
        else:
            part.file = _Text(name, headers, self.max_part_size)

    def _check(self, name: str, *, is_file: bool) -> None:
        if name not in PARTS:
            problem = FieldProblem(f"/{name[:64]}", "No such part.")
            raise InvalidBody("The body has an unknown part.", problem, code="unknown_field")
        if name == "teacher" and (not is_file or name in self._begun):
            raise InvalidBody("The teacher must be one file.", FieldProblem("/teacher", "not one file"))
        if name in self._begun:
            raise InvalidBody("There are two spec parts.", FieldProblem("/spec", "twice"))
        self._begun.add(name)


@asynccontextmanager
async def read_upload(
    request: Request, *, spec_required: bool, dry_run: bool = False
) -> AsyncIterator[Upload]:
    """The request's `teacher` and `spec` parts. Bytes that no row names at the end of the block are gone.

    A `dry_run` stores none. Raises ServiceError 429 for the byte that passes the tenant's quota, or before
    the first where the length that the request names does not fit.
    """
    limit = get_settings().max_json_bytes
    writer = _unstored if dry_run else get_store().writer
    # What else is in the body may be as large as this; the file's bytes are counted when they are here.
    expected = max(0, content_length(request) - limit)
    async with receiving(request.state.tenant_id, expected) as incoming:
        parser = _Parser(request, limit, incoming, writer)
        try:
            form = await _parsed(parser, limit)
            spec = _spec(form, required=spec_required)
            if parser.file is None:
                raise InvalidBody(
                    "There is no teacher part.", FieldProblem("/teacher", "missing"), code="missing_teacher"
                )
            name = display_name(parser.file.filename or "")
            stored = await run_in_threadpool(parser.file.finish)
            if stored.bytes == 0:
                raise InvalidBody(
                    "The teacher file is empty.", FieldProblem("/teacher", "empty"), code="empty_file"
                )
            yield Upload(incoming.blob_id, stored, name, spec)
        finally:
            if parser.file is not None:
                with anyio.CancelScope(shield=True):
                    await run_in_threadpool(parser.file.drop)


def content_length(request: Request) -> int:
    """What the request says of its body's length; 0 where it does not."""
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def _too_large(limit: int) -> ServiceError:
    return ServiceError(413, "payload_too_large", f"A part that is no file is larger than {limit} bytes.")


def _malformed() -> ServiceError:
    return ServiceError(400, "malformed_multipart", "The multipart body cannot be read.")


async def _parsed(parser: _Parser, limit: int) -> FormData:
    try:
        return await parser.parse()
    except MultiPartException as error:
        # Starlette tells its refusals apart by their text alone.
        raise (_too_large(limit) if "maximum size" in error.message else _malformed()) from error
    except UnicodeError as error:  # from a charset that exists and is no way to write a name
        raise ServiceError(400, "malformed_multipart", "The body's charset cannot be used.") from error


def _spec(form: FormData, *, required: bool) -> bytes:
    part = form.get("spec")
    if part is None:
        if required and "teacher" in form:
            raise InvalidBody("There is no spec part.", FieldProblem("/spec", "missing"), code="missing_spec")
        return b"{}"
    if isinstance(part, str):
        return part.encode("utf-8", "surrogatepass")
    assert isinstance(part, _Text)
    return bytes(part.content)
