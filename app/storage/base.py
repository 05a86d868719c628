"""What a store of artifact bytes can do."""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime


class IntegrityError(Exception):
    """Stored bytes are not what was stored."""


class StoreAway(OSError):
    """A store does not answer, or the settings do not say where it is. The bytes may well be there."""


@dataclass(frozen=True)
class Stored:
    """Bytes that are safely kept."""

    bytes: int
    sha256: str


class Writer(ABC):
    """Bytes on their way into a store. Nobody can read them before `finish`.

    A request that is cancelled leaves the thread that writes for it to its own end: whoever aborts meanwhile
    waits for that, and what comes later is refused.
    """

    def __init__(self) -> None:
        self._digest, self._total = hashlib.sha256(), 0
        self._lock, self._over = threading.Lock(), False

    def write(self, piece: bytes) -> None:
        """Take the next bytes."""
        with self._lock:
            self._check()
            self._digest.update(piece)
            self._total += len(piece)
            self._take(piece)

    def finish(self) -> Stored:
        """Keep them for good; says what is kept."""
        with self._lock:
            self._check()
            self._keep()
            self._over = True
        return Stored(self._total, self._digest.hexdigest())

    def abort(self) -> None:
        """Forget what is not kept yet; for what is, `delete` is the way."""
        with self._lock:
            if not self._over:
                self._over = True
                self._forget()

    def _check(self) -> None:
        if self._over:
            raise ValueError("these bytes were given up, or are kept already")

    @abstractmethod
    def _take(self, piece: bytes) -> None: ...

    @abstractmethod
    def _keep(self) -> None: ...

    @abstractmethod
    def _forget(self) -> None: ...


class ArtifactStore(ABC):
    """Keeps bytes under an artifact's id. Never holds a whole artifact in memory."""

    @abstractmethod
    def writer(self, artifact_id: str) -> Writer:
        """A way in for bytes that come little by little."""

    def put(self, artifact_id: str, chunks: Iterable[bytes]) -> Stored:
        """Keep the bytes; on any error nothing is left behind."""
        writer = self.writer(artifact_id)
        try:
            for piece in chunks:
                writer.write(piece)
            return writer.finish()
        except BaseException:
            writer.abort()
            raise

    @abstractmethod
    def read(self, artifact_id: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to, not including, `end`. Raises IntegrityError on a gap."""

    @abstractmethod
    def has(self, artifact_id: str) -> bool:
        """Whether there are bytes under this id, be they whole or not."""

    @abstractmethod
    def delete(self, artifact_id: str, between: Callable[[], object] = lambda: None) -> None:
        """Forget the bytes; fine if there are none. `between` is called now and then, and may end it."""

    def delete_some(self, artifact_id: str) -> bool:
        """Forget as much as takes a moment; whether nothing is left."""
        self.delete(artifact_id)
        return True

    def check(self) -> None:  # noqa: B027  (nothing to do where the bytes lie in the database)
        """Raise whatever says that the store cannot be reached. Nothing is written."""

    @abstractmethod
    def kept(self) -> Iterator[tuple[str, datetime]]:
        """Ids of everything that is kept, and since when: for sweeping up what nobody owns."""

    @abstractmethod
    def sweep_unfinished(self, before: datetime) -> None:
        """Forget what was begun before then and never came to be."""
