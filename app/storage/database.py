"""Artifact bytes as 1 MiB rows beside the jobs: a worker elsewhere needs nothing but the database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import delete, insert, select

from app.db import database_now, read_scope, session_scope
from app.models import ArtifactChunk
from app.storage.base import ArtifactStore, IntegrityError, Writer

CHUNK_BYTES = 2**20


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
        _delete(self._artifact_id)


def _delete(artifact_id: str) -> None:
    with session_scope() as session:
        session.execute(delete(ArtifactChunk).where(ArtifactChunk.artifact_id == artifact_id))


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

    def delete(self, artifact_id: str) -> None:
        """See ArtifactStore."""
        _delete(artifact_id)

    def kept(self) -> Iterator[tuple[str, datetime]]:
        """See ArtifactStore."""
        with read_scope() as session:
            # The first chunk alone is answered by the key, without the bytes.
            first = select(ArtifactChunk.artifact_id, ArtifactChunk.created_at)
            rows = session.execute(first.where(ArtifactChunk.number == 0)).all()
        yield from ((row.artifact_id, row.created_at) for row in rows)

    def sweep_unfinished(self, before: datetime) -> None:
        """Chunks of an upload that broke off are found by `kept`, as they have an id already."""
