"""Artifact bytes as 1 MiB rows beside the jobs: a worker elsewhere needs nothing but the database."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime

from sqlalchemy import delete, insert, select

from app.db import database_now, read_scope, session_scope
from app.models import ArtifactChunk
from app.storage.base import IntegrityError, Stored

CHUNK_BYTES = 2**20


def _equal_pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of CHUNK_BYTES; the last may be shorter."""
    waiting = bytearray()
    for chunk in chunks:
        waiting += chunk
        while len(waiting) >= CHUNK_BYTES:
            yield bytes(waiting[:CHUNK_BYTES])
            del waiting[:CHUNK_BYTES]
    if waiting:
        yield bytes(waiting)


class DatabaseStore:
    """The default store. One short transaction for each chunk."""

    def put(self, artifact_id: str, chunks: Iterable[bytes]) -> Stored:
        """See ArtifactStore."""
        digest, total = hashlib.sha256(), 0
        try:
            for number, piece in enumerate(_equal_pieces(chunks)):
                digest.update(piece)
                total += len(piece)
                with session_scope() as session:
                    row = {"artifact_id": artifact_id, "number": number, "data": piece}
                    session.execute(insert(ArtifactChunk), [{**row, "created_at": database_now(session)}])
        except BaseException:
            self.delete(artifact_id)
            raise
        return Stored(total, digest.hexdigest())

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
        with session_scope() as session:
            session.execute(delete(ArtifactChunk).where(ArtifactChunk.artifact_id == artifact_id))

    def kept(self) -> Iterator[tuple[str, datetime]]:
        """See ArtifactStore."""
        with read_scope() as session:
            # The first chunk alone is answered by the key, without the bytes.
            first = select(ArtifactChunk.artifact_id, ArtifactChunk.created_at)
            rows = session.execute(first.where(ArtifactChunk.number == 0)).all()
        yield from ((row.artifact_id, row.created_at) for row in rows)

    def sweep_unfinished(self, before: datetime) -> None:
        """Chunks of an upload that broke off are found by `kept`, as they have an id already."""
