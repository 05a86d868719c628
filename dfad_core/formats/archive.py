"""A folder that came as a zip or a tar: its regular files by name, each read within bounds, none unpacked."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from dfad_core.contract.containers import GZIP, ZIP
from dfad_core.contract.errors import TeacherRejected

MAX_FILES = 1000
TIMES_FILE, SLACK_BYTES = 4, 16 * 2**20
"""An archive may hold so many times its own size, and that much more: weights hardly shrink."""
PIECE_BYTES = 1 << 20

DAMAGED = (
    OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile, tarfile.TarError,
)  # fmt: skip


class Folder:
    """Files by their path, without the one folder that all of them may lie in."""

    def __init__(self, path: Path) -> None:
        """Raises TeacherRejected: `corrupt_file`, `unsafe_archive` for links and for paths out of it."""
        self._limit = TIMES_FILE * path.stat().st_size + SLACK_BYTES
        try:
            members = _zip_members(path) if _magic(path).startswith(ZIP) else self._tar_members(path)
        except TeacherRejected:
            raise
        except DAMAGED as error:
            raise TeacherRejected("The archive is damaged.", code="corrupt_file") from error
        self._members = _without_top(members)

    @property
    def names(self) -> list[str]:
        """Of all files."""
        return list(self._members)

    def read(self, name: str, most: int) -> bytes:
        """A small file. Raises TeacherRejected (`structure_limit`) for one that is not."""
        target = io.BytesIO()
        self._copy(name, target, most)
        return target.getvalue()

    def copy(self, name: str, target: Path) -> None:
        """A large file, onto the disk."""
        with target.open("wb") as out:
            self._copy(name, out, self._limit)

    def _copy(self, name: str, out: IO[bytes], most: int) -> None:
        archive, member = self._members[name]
        copied = 0
        try:
            source = (
                archive.open(member) if isinstance(archive, zipfile.ZipFile) else archive.extractfile(member)
            )
            with cast("IO[bytes]", source) as file:
                while piece := file.read(PIECE_BYTES):
                    copied += len(piece)
                    if copied > most:
                        text = f"{name[:200]} unpacks to more than is read."
                        raise TeacherRejected(text, code="structure_limit")
                    out.write(piece)
        except TeacherRejected:
            raise
        except DAMAGED as error:
            raise TeacherRejected("The archive is damaged.", code="corrupt_file") from error

    def _tar_members(self, path: Path) -> dict[str, tuple[Any, Any]]:
        # Kept open as long as the object: its members are read from it.
        file: Any = path.open("rb")
        if _magic(path).startswith(GZIP):
            file = _Bounded(gzip.GzipFile(fileobj=file), self._limit)
        archive = tarfile.TarFile(fileobj=file)
        members: dict[str, tuple[Any, Any]] = {}
        for member in archive:
            if member.isdir():
                continue
            if not member.isreg():
                raise TeacherRejected("The archive holds a link or a device.", code="unsafe_archive")
            _add(members, member.name, archive, member)
        return members


class _Bounded(io.RawIOBase):
    """A stream that ends badly where it is longer than it may be."""

    def __init__(self, stream: gzip.GzipFile, most: int) -> None:
        self._stream, self._most = stream, most

    def read(self, size: int = -1) -> bytes:
        if self._stream.tell() > self._most:
            raise TeacherRejected("The archive unpacks to more than is read.", code="structure_limit")
        return self._stream.read(min(size, PIECE_BYTES) if size >= 0 else PIECE_BYTES)

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, place: int, whence: int = 0) -> int:
        if whence == 0 and place > self._most:
            raise TeacherRejected("The archive unpacks to more than is read.", code="structure_limit")
        return self._stream.seek(place, whence)


def _magic(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _zip_members(path: Path) -> dict[str, tuple[Any, Any]]:
    archive = zipfile.ZipFile(path)
    members: dict[str, tuple[Any, Any]] = {}
    for entry in archive.infolist():
        if not entry.is_dir():
            _add(members, entry.filename, archive, entry)
    return members


def _add(members: dict[str, tuple[Any, Any]], name: str, archive: Any, member: Any) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name:
        raise TeacherRejected("The archive has entries outside of itself.", code="unsafe_archive")
    if str(path) in members or len(members) >= MAX_FILES:
        raise TeacherRejected("The archive has duplicate or too many entries.", code="corrupt_file")
    members[str(path)] = (archive, member)


def _without_top(members: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    tops = {name.partition("/")[0] for name in members}
    if len(tops) != 1 or any("/" not in name for name in members):
        return members
    return {name.partition("/")[2]: member for name, member in members.items()}
