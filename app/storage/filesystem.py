"""Artifact bytes as files: for one machine, or a disk that all machines share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from app.storage.base import ArtifactStore, IntegrityError, Writer

PIECE_BYTES = 2**20
UNFINISHED = ".part-"


class _FileWriter(Writer):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._unfinished = path.parent / f"{UNFINISHED}{uuid4().hex}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        self._file = os.fdopen(os.open(self._unfinished, flags, 0o600), "wb", buffering=PIECE_BYTES)

    def _take(self, piece: bytes) -> None:
        self._file.write(piece)

    def _keep(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._unfinished, self._path)
        _fsync_folder(self._path.parent)

    def _forget(self) -> None:
        with contextlib.suppress(OSError):  # what could not be written cannot be written now either
            self._file.close()
        self._unfinished.unlink(missing_ok=True)


class FilesystemStore(ArtifactStore):
    """A file an artifact, in folders by the end of its id, which is random."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, artifact_id: str) -> Path:
        if not artifact_id.isascii() or not artifact_id.replace("_", "").isalnum():
            raise ValueError("not an artifact's id")
        return self._folder / artifact_id[-2:] / artifact_id

    def writer(self, artifact_id: str) -> Writer:
        """See ArtifactStore. Whole and on the disk, or not there at all, whenever the power goes."""
        return _FileWriter(self._path(artifact_id))

    def read(self, artifact_id: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See ArtifactStore."""
        left = None if end is None else end - start
        try:
            with self._path(artifact_id).open("rb") as file:
                file.seek(start)
                while left is None or left > 0:
                    piece = file.read(PIECE_BYTES if left is None else min(left, PIECE_BYTES))
                    if not piece:
                        break
                    left = None if left is None else left - len(piece)
                    yield piece
        except FileNotFoundError:
            pass
        if left:
            raise IntegrityError(f"{artifact_id} is cut off")

    def has(self, artifact_id: str) -> bool:
        """See ArtifactStore."""
        return self._path(artifact_id).exists()

    def delete(self, artifact_id: str, between: Callable[[], object] = lambda: None) -> None:
        """See ArtifactStore."""
        self._path(artifact_id).unlink(missing_ok=True)

    def check(self) -> None:
        """See ArtifactStore."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise PermissionError("the folder of artifacts cannot be written")

    def kept(self) -> Iterator[tuple[str, datetime]]:
        """See ArtifactStore."""
        for folder in self._folder.glob("*/"):
            for path in folder.glob("[!.]*"):
                try:
                    changed = path.stat().st_mtime
                except FileNotFoundError:  # deleted in this moment
                    continue
                yield path.name, datetime.fromtimestamp(changed, UTC)

    def sweep_unfinished(self, before: datetime) -> None:
        """See ArtifactStore."""
        for folder in self._folder.glob("*/"):
            for path in folder.glob(f"{UNFINISHED}*"):
                try:
                    if path.stat().st_mtime < before.timestamp():
                        path.unlink()
                except FileNotFoundError:
                    continue


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
