"""Files that travel: the parts of a request, digests, and the file that a download leaves."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from dfad_client.answers import Artifact
from dfad_client.errors import DownloadCorrupt
from dfad_client.folders import one_file

Files = list[tuple[str, tuple[str | None, Any, str]]]
Listener = Callable[[int, int], None]
"""Told (bytes so far, bytes in all) now and then."""
PIECE_BYTES = 1 << 20


@contextlib.contextmanager
def teacher_parts(path: Path, spec: Mapping[str, Any] | None) -> Iterator[Callable[[], Files]]:
    """The parts of an upload, streamed from the file, from its beginning at every call.

    A teacher of several files is packed first, see `one_file`.
    """
    with one_file(path) as source, source.open("rb") as file:

        def parts() -> Files:
            file.seek(0)
            named = (source.name, file, "application/octet-stream")
            # The spec first: the server can refuse it before gigabytes have travelled.
            first: Files = (
                [("spec", (None, json.dumps(spec), "application/json"))] if spec is not None else []
            )
            return [*first, ("teacher", named)]

        yield parts


def new_idempotency_key() -> str:
    """A key that no other request has."""
    return secrets.token_urlsafe(24)


def digest_of(file: IO[bytes]) -> tuple[str, int]:
    """SHA-256 in hexadecimal, and length, of a file from where it stands."""
    digest, size = hashlib.sha256(), 0
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size


@contextlib.contextmanager
def whole_or_not_at_all(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path`, to write and to check, which takes its place if nothing is raised."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with temporary.open("x+b") as out:
            yield out
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def settle(out: IO[bytes], artifact: Artifact) -> None:
    """Bring what was written to the disk, if it is the artifact. Raises DownloadCorrupt, OSError."""
    out.flush()
    out.seek(0)
    digest, size = digest_of(out)
    if size != artifact.bytes or digest != artifact.sha256.lower():
        raise DownloadCorrupt(f"{artifact.id} arrived damaged (its SHA-256 is another); nothing was written.")
    os.fsync(out.fileno())
