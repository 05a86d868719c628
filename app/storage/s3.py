"""Artifact bytes as objects of a store that speaks S3, through obstore."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import obstore
from obstore.store import ObjectStore

from app.storage.base import IntegrityError, Stored

if TYPE_CHECKING:
    from obstore import GetOptions

PIECE_BYTES = 8 * 2**20


class ObjectsStore:
    """An object an artifact. An upload that breaks off is never completed, so nothing of it can be read."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, artifact_id: str, chunks: Iterable[bytes]) -> Stored:
        """See ArtifactStore."""
        digest, total = hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal total
            for piece in chunks:
                digest.update(piece)
                total += len(piece)
                yield piece

        obstore.put(self._store, artifact_id, counted(), use_multipart=True, chunk_size=PIECE_BYTES)
        return Stored(total, digest.hexdigest())

    def read(self, artifact_id: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """See ArtifactStore."""
        if end is not None and end <= start:
            return
        left = None if end is None else end - start
        options: GetOptions = {}
        if end is not None:
            options = {"range": (start, end)}
        elif start > 0:
            options = {"range": {"offset": start}}
        try:
            found = obstore.get(self._store, artifact_id, options=options)
        except FileNotFoundError:
            if left:
                raise IntegrityError(f"{artifact_id} is missing") from None
            return
        for piece in found.stream(min_chunk_size=2**20):
            data = bytes(piece)
            left = None if left is None else left - len(data)
            yield data
        if left:
            raise IntegrityError(f"{artifact_id} is cut off")

    def delete(self, artifact_id: str) -> None:
        """See ArtifactStore."""
        try:
            obstore.delete(self._store, artifact_id)
        except FileNotFoundError:
            return

    def kept(self) -> Iterator[tuple[str, datetime]]:
        """See ArtifactStore."""
        for page in obstore.list(self._store, chunk_size=1000):
            for item in page:
                yield item["path"], item["last_modified"]

    def sweep_unfinished(self, before: datetime) -> None:
        """Uploads that broke off are the bucket's to clear up, by a lifecycle rule."""
