"""Artifact bytes as objects of a store that speaks S3, through obstore."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from app.storage.base import ArtifactStore, IntegrityError, StoreAway, Writer

if TYPE_CHECKING:
    from obstore import GetOptions

PIECE_BYTES = 8 * 2**20
UPLOADED_AT_ONCE = 2
"""Pieces of one upload; each is held in memory until it is there."""


@contextlib.contextmanager
def _answering(*more: type[Exception]) -> Iterator[None]:
    """Raise StoreAway for errors of the library, which are of no kind that anybody else knows, and `more`."""
    kinds: tuple[type[Exception], ...] = (BaseError, *more)
    try:
        yield
    except kinds as error:
        raise StoreAway(f"the object store does not do what it is asked: {type(error).__name__}") from error


class _ObjectWriter(Writer):
    def __init__(self, store: ObjectStore, artifact_id: str) -> None:
        super().__init__()
        self._store, self._artifact_id = store, artifact_id
        self._file = obstore.open_writer(
            store, artifact_id, buffer_size=PIECE_BYTES, max_concurrency=UPLOADED_AT_ONCE
        )

    def _take(self, piece: bytes) -> None:
        with _answering(OSError):
            self._file.write(piece)

    def _keep(self) -> None:
        with _answering(OSError):
            self._file.close()

    def _forget(self) -> None:
        """What was sent in pieces already is held by the store until it is an object, or for ever."""
        if self._total < PIECE_BYTES:
            return  # what is never closed never becomes an object
        with contextlib.suppress(OSError, BaseError):  # then it is the bucket's to clear up
            self._file.close()
            obstore.delete(self._store, self._artifact_id)


class ObjectsStore(ArtifactStore):
    """An object an artifact. An upload that breaks off is never completed, so nothing of it can be read."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def writer(self, artifact_id: str) -> Writer:
        """See ArtifactStore."""
        return _ObjectWriter(self._store, artifact_id)

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
            with _answering():
                pieces = iter(obstore.get(self._store, artifact_id, options=options).stream(2**20))
                while (piece := next(pieces, None)) is not None:
                    data = bytes(piece)
                    left = None if left is None else left - len(data)
                    yield data
        except FileNotFoundError:
            if left:
                raise IntegrityError(f"{artifact_id} is missing") from None
            return
        if left:
            raise IntegrityError(f"{artifact_id} is cut off")

    def has(self, artifact_id: str) -> bool:
        """See ArtifactStore."""
        try:
            with _answering():
                obstore.head(self._store, artifact_id)
        except FileNotFoundError:
            return False
        return True

    def delete(self, artifact_id: str, between: Callable[[], object] = lambda: None) -> None:
        """See ArtifactStore."""
        with _answering(), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, artifact_id)

    def check(self) -> None:
        """See ArtifactStore."""
        self.has("nothing-of-this-name")  # it is not there, but somebody answered

    def kept(self) -> Iterator[tuple[str, datetime]]:
        """See ArtifactStore."""
        with _answering():
            for page in obstore.list(self._store, chunk_size=1000):
                for item in page:
                    yield item["path"], item["last_modified"]

    def sweep_unfinished(self, before: datetime) -> None:
        """Uploads of processes that died are the bucket's to clear up, by a lifecycle rule."""
