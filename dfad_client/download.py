"""Artifacts to disk: piece by piece, resumed where a connection broke, verified, then renamed."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Protocol

from dfad_client.answers import Artifact
from dfad_client.errors import ConnectionFailed, DownloadCorrupt
from dfad_client.transport import Retryable, Transport

Listener = Callable[[int, int], None]
"""Told (bytes so far, bytes in all) now and then."""


class _Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...
    def hexdigest(self) -> str: ...


def download(
    transport: Transport, artifact: Artifact, path: Path, on_progress: Listener | None = None
) -> Path:
    """Write an artifact's bytes to `path`: whole and as announced, or not at all.

    Raises DownloadCorrupt, ApiError, ConnectionFailed, or OSError of the local disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as out:
            digest = _fetch(transport, artifact, out, on_progress)
            if out.tell() != artifact.bytes or digest != artifact.sha256.lower():
                raise DownloadCorrupt(
                    f"{artifact.id} arrived damaged (its SHA-256 is another); nothing was written."
                )
            out.flush()
            os.fsync(out.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _umask() -> int:
    """The process's umask: a temporary file is private, the finished one is like any other."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _fetch(transport: Transport, artifact: Artifact, out: IO[bytes], on_progress: Listener | None) -> str:
    """Stream all bytes into `out` and return their SHA-256."""
    digest: _Hash = hashlib.sha256()
    attempts = transport.attempts()
    while True:
        start = out.tell()
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": f'"{artifact.sha256}"'}
        try:
            with transport.stream(f"/artifacts/{artifact.id}", headers) as response:
                if start and response.status_code != 206:  # the whole again: begin anew
                    out.seek(0)
                    out.truncate()
                    digest = hashlib.sha256()
                for piece in response.iter_bytes():
                    out.write(piece)
                    digest.update(piece)
                    attempts.progress()
                    if on_progress:
                        on_progress(out.tell(), artifact.bytes)
                    if out.tell() > artifact.bytes:
                        return digest.hexdigest()  # too much already: the caller refuses it
            if out.tell() >= artifact.bytes:
                return digest.hexdigest()
            raise Retryable(ConnectionFailed(f"{transport.base_url} sent only part of {artifact.id}."))
        except Retryable as again:
            attempts.wait(again)
