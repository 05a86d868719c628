"""What a store of artifact bytes can do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol


class IntegrityError(Exception):
    """Stored bytes are not what was stored."""


@dataclass(frozen=True)
class Stored:
    """Bytes that are safely kept."""

    bytes: int
    sha256: str


class ArtifactStore(Protocol):
    """Keeps bytes under an artifact's id. Never holds a whole artifact in memory."""

    def put(self, artifact_id: str, chunks: Iterable[bytes]) -> Stored:
        """Keep the bytes; on any error nothing is left behind."""

    def read(self, artifact_id: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` up to, not including, `end`. Raises IntegrityError on a gap."""

    def delete(self, artifact_id: str) -> None:
        """Forget the bytes; fine if there are none."""

    def kept(self) -> Iterator[tuple[str, datetime]]:
        """Ids of everything that is kept, and since when: for sweeping up what nobody owns."""

    def sweep_unfinished(self, before: datetime) -> None:
        """Forget what was begun before then and never came to be."""
