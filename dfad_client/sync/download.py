# Made from dfad_client/aio/download.py by `python tools/sync_twin.py`: change that one, and run it.
"""Artifacts to disk: piece by piece, resumed where a connection broke, verified, then renamed."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from dfad_client.answers import Artifact
from dfad_client.errors import ConnectionFailed
from dfad_client.files import Listener, settle, whole_or_not_at_all
from dfad_client.retrying import Retryable
from dfad_client.sync.transport import Transport
from dfad_client.sync.waiting import aside

PARTIAL_CONTENT = 206


def download(
    transport: Transport, artifact: Artifact, path: Path, on_progress: Listener | None = None
) -> Path:
    """Write an artifact's bytes to `path`: whole and as announced, or not at all.

    Raises DownloadCorrupt, ApiError, ConnectionFailed, or OSError of the local disk.
    """
    with whole_or_not_at_all(path) as out:
        _fetch(transport, artifact, out, on_progress)
        aside(lambda: settle(out, artifact))
    return path


def _fetch(transport: Transport, artifact: Artifact, out: IO[bytes], on_progress: Listener | None) -> None:
    """Stream all bytes into `out`; one piece more than announced if there are more."""
    attempts = transport.attempts()
    while True:
        start = out.tell()
        headers = {"Accept": "*/*", "Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": f'"{artifact.sha256}"'}
        try:
            with transport.stream(f"/artifacts/{artifact.id}", headers) as response:
                if start and response.status_code != PARTIAL_CONTENT:  # the whole again: begin anew
                    out.seek(0)
                    out.truncate()
                for piece in response.iter_bytes():
                    out.write(piece)
                    attempts.progress()
                    if on_progress:
                        on_progress(out.tell(), artifact.bytes)
                    if out.tell() > artifact.bytes:
                        return  # too much already: it will be refused
            if out.tell() >= artifact.bytes:
                return
            raise Retryable(ConnectionFailed(f"{transport.base_url} sent only part of {artifact.id}."))
        except Retryable as again:
            attempts.wait(again)
