"""A folder in a zip or a tar: its regular files by name, read one by one within bounds."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

from dfad_core.contract.containers import GZIP, HEAD_BYTES, TAR, TAR_OFFSET, ZIP
from dfad_core.contract.errors import TeacherRejected

MAX_FILES = 1000
MAX_RATIO, EXTRA_BYTES = 4, 16 * 2**20
"""Largest unpacked size: MAX_RATIO times the archive's, since weights hardly compress, plus EXTRA_BYTES."""
PIECE_BYTES = 1 << 20

ARCHIVE_ERRORS = (
    OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile, tarfile.TarError,
)  # fmt: skip


SYSTEM_FOLDERS, SYSTEM_FILES = ("__MACOSX",), (".DS_Store", "Thumbs.db", "desktop.ini")
"""Names of what macOS and Windows put into archives; macOS's files `._NAME` are left out as well."""


def may_hold(path: Path, is_wanted: Callable[[str], bool]) -> bool:
    """Whether the archive may have a file of such a name, so that `Folder` has to look.

    False for a zip without one and for a damaged zip: either may be a state dict.
    """
    if not _magic(path).startswith(ZIP):
        return True
    try:
        with zipfile.ZipFile(path) as archive:
            return any(is_wanted(entry.filename) for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


class Folder:
    """A folder of an archive: its files by their paths in it."""

    def __init__(self, path: Path, marker: str | None = None) -> None:
        """The folder is the one with a file called `marker`, at any depth: the outermost one, or the archive
        itself where there is none or no `marker` is named.

        Raises TeacherRejected: `corrupt_file`, `compressed_archive` for another file compressed by gzip,
        `several_models` where several folders have such a file, `unsafe_archive` for links and for paths
        outside of the archive.
        """
        self._limit = MAX_RATIO * path.stat().st_size + EXTRA_BYTES
        try:
            members = _zip_members(path) if _magic(path).startswith(ZIP) else self._tar_members(path)
        except TeacherRejected:
            raise
        except ARCHIVE_ERRORS as error:
            raise TeacherRejected("The archive is damaged.", code="corrupt_file") from error
        self._members = members if marker is None else _below(_outermost(members, marker), members)

    @property
    def names(self) -> list[str]:
        """Paths of all files."""
        return list(self._members)

    def read(self, name: str, most: int) -> bytes:
        """The content of a file. Raises TeacherRejected (`structure_limit`) for more than `most` bytes."""
        target = io.BytesIO()
        self._copy(name, target, most)
        return target.getvalue()

    def copy(self, name: str, target: Path) -> None:
        """Write a file to the path `target`. Raises TeacherRejected (`structure_limit`)."""
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
                        text = f"{name[:200]} unpacks to more than {most} bytes."
                        raise TeacherRejected(text, code="structure_limit")
                    out.write(piece)
        except TeacherRejected:
            raise
        except ARCHIVE_ERRORS as error:
            raise TeacherRejected("The archive is damaged.", code="corrupt_file") from error

    def _tar_members(self, path: Path) -> dict[str, tuple[Any, Any]]:
        # Open as long as this object, which reads the members from it.
        file: Any = path.open("rb")
        if _magic(path).startswith(GZIP):
            file = _BoundedStream(gzip.GzipFile(fileobj=file), self._limit)
            if not file.read(HEAD_BYTES)[TAR_OFFSET:].startswith(TAR):
                text = "The file is compressed by gzip. Unpack it, and send the file inside."
                raise TeacherRejected(text, code="compressed_archive")
            file.seek(0)
        archive = tarfile.TarFile(fileobj=file)
        members: dict[str, tuple[Any, Any]] = {}
        for member in archive:
            if member.isdir():
                continue
            if not member.isreg():
                raise TeacherRejected("The archive contains a link or a device.", code="unsafe_archive")
            _add(members, member.name, archive, member)
        return members


class _BoundedStream(io.RawIOBase):
    """A stream that raises TeacherRejected (`structure_limit`) after `most` bytes."""

    def __init__(self, stream: gzip.GzipFile, most: int) -> None:
        self._stream, self._most = stream, most

    def read(self, size: int = -1) -> bytes:
        if self._stream.tell() > self._most:
            raise self._too_large()
        return self._stream.read(min(size, PIECE_BYTES) if size >= 0 else PIECE_BYTES)

    def tell(self) -> int:
        return self._stream.tell()

    def seek(self, place: int, whence: int = 0) -> int:
        if whence == 0 and place > self._most:
            raise self._too_large()
        return self._stream.seek(place, whence)

    def _too_large(self) -> TeacherRejected:
        return TeacherRejected(
            f"The archive unpacks to more than {self._most} bytes.", code="structure_limit"
        )


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
        raise TeacherRejected("A path in the archive leads outside of it.", code="unsafe_archive")
    if is_system_file(path):
        return
    if str(path) in members or len(members) >= MAX_FILES:
        raise TeacherRejected("The archive has duplicate or too many entries.", code="corrupt_file")
    members[str(path)] = (archive, member)


def is_system_file(path: PurePosixPath) -> bool:
    """Whether it is a file of macOS or Windows beside those that the user packed."""
    return (
        any(folder in SYSTEM_FOLDERS for folder in path.parts[:-1])
        or path.name.startswith("._")
        or path.name in SYSTEM_FILES
    )


def _outermost(members: Iterable[str], marker: str) -> str:
    """Path of the outermost folder with a file called `marker`. Raises TeacherRejected."""
    folders = [name.removesuffix(marker) for name in members if f"/{name}".endswith(f"/{marker}")]
    if not folders:
        return ""
    depth = min(folder.count("/") for folder in folders)
    outermost = sorted(folder for folder in folders if folder.count("/") == depth)
    if len(outermost) > 1:
        listed = ", ".join(folder[:100] for folder in outermost[:6])
        text = f"The archive has several folders with a {marker}: {listed}. Pack one of them."
        raise TeacherRejected(text, code="several_models")
    return outermost[0]


def _below(folder: str, members: dict[str, tuple[Any, Any]]) -> dict[str, tuple[Any, Any]]:
    return {name[len(folder) :]: member for name, member in members.items() if name.startswith(folder)}
