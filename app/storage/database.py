"""Artifact bytes as 1 MiB rows beside the jobs: a worker elsewhere needs nothing but the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime

from sqlalchemy import delete, insert, select

from app.models import ArtifactChunk
from app.platform.db import database_now, read_scope, session_scope
from app.storage.base import ArtifactStore, IntegrityError, Writer

CHUNK_BYTES = 2**20
DELETED_AT_ONCE = 4
LEAST_PAUSE_SECONDS = 0.01


class _ChunkWriter(Writer):
    """Cuts into rows of CHUNK_BYTES; the last may be shorter."""

    def __init__(self, artifact_id: str) -> None:
        super().__init__()
        self._artifact_id, self._number, self._waiting = artifact_id, 0, bytearray()

    def _take(self, piece: bytes) -> None:
        self._waiting += piece
        while len(self._waiting) >= CHUNK_BYTES:
            self._insert(bytes(self._waiting[:CHUNK_BYTES]))
            del self._waiting[:CHUNK_BYTES]

    def _keep(self) -> None:
        if self._waiting:
            self._insert(bytes(self._waiting))

    def _insert(self, piece: bytes) -> None:
        with session_scope() as session:
            row = {"artifact_id": self._artifact_id, "number": self._number, "data": piece}
            session.execute(insert(ArtifactChunk), [{**row, "created_at": database_now(session)}])
        self._number += 1

    def _forget(self) -> None:
        """The beginning of it; what is left of a large one has no owner."""
        _delete_some(self._artifact_id)


def _delete_some(artifact_id: str) -> bool:
    """Delete the last chunks in one short transaction; whether those were all.

    SQLite goes through every page of what is deleted, and nobody else writes meanwhile: a large file at
    once would stop the service. The first chunk goes last, for `kept` finds a file by it.
    """
    mine = ArtifactChunk.artifact_id == artifact_id
    some = select(ArtifactChunk.number).where(mine).order_by(ArtifactChunk.number == 0, ArtifactChunk.number)
    with session_scope() as session:
        numbers = list(session.scalars(some.limit(DELETED_AT_ONCE)))
        if numbers:
            session.execute(delete(ArtifactChunk).where(mine, ArtifactChunk.number.in_(numbers)))
    return len(numbers) < DELETED_AT_ONCE


class DatabaseStore(ArtifactStore):
    """The default store. One short transaction for each chunk."""

    def writer(self, artifact_id: str) -> Writer:
        """See ArtifactStore."""
        return _ChunkWriter(artifact_id)

    def read(self, artifact_id: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See ArtifactStore."""
        number, skip = divmod(start, CHUNK_BYTES)
        left = None if end is None else end - start
        while left is None or left > 0:
            with read_scope() as session:
                wanted = (ArtifactChunk.artifact_id == artifact_id, ArtifactChunk.number == number)
                piece = session.scalar(select(ArtifactChunk.data).where(*wanted))
            if piece is None:
                if left is not None:
                    raise IntegrityError(f"chunk {number} of {artifact_id} is missing")
                return
            part = piece[skip:] if left is None else piece[skip : skip + left]
            if part:
                yield part
            if left is not None:
                left -= len(part)
            number, skip = number + 1, 0

    def has(self, artifact_id: str) -> bool:
        """See ArtifactStore. Empty files have no row."""
        first = (ArtifactChunk.artifact_id == artifact_id, ArtifactChunk.number == 0)
        with read_scope() as session:
            return session.scalar(select(ArtifactChunk.number).where(*first)) is not None

    def delete(self, artifact_id: str, between: Callable[[], object] = lambda: None) -> None:
        """See ArtifactStore. Others get as much of the database's time as this does."""
        begun = time.monotonic()
        while not _delete_some(artifact_id):
            between()
            time.sleep(max(LEAST_PAUSE_SECONDS, time.monotonic() - begun))
            begun = time.monotonic()

    def delete_some(self, artifact_id: str) -> bool:
        """See ArtifactStore."""
        return _delete_some(artifact_id)

    def kept(self) -> Iterator[tuple[str, datetime]]:
        """See ArtifactStore."""
        with read_scope() as session:
            # The first chunk alone is answered by the key, without the bytes.
            first = select(ArtifactChunk.artifact_id, ArtifactChunk.created_at)
            rows = session.execute(first.where(ArtifactChunk.number == 0)).all()
        yield from ((row.artifact_id, row.created_at) for row in rows)

    def sweep_unfinished(self, before: datetime) -> None:
        """Chunks of an upload that broke off are found by `kept`, as they have an id already."""
