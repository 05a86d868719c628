"""Large files in parts: what broke off goes on where it was, also from another process."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from dfad_client.answers import Json
from dfad_client.transport import Transport

Listener = Callable[[int, int], None]
"""Told (bytes that the server has, bytes in all) after every part."""
PIECE_BYTES = 1 << 20


class Uploads:
    """`client.uploads`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(self, path: str | Path, *, on_progress: Listener | None = None) -> str:
        """The id of a completed upload of that file, to be named as `upload_id` in a job or a teacher.

        The upload is known by the file's name, size and SHA-256: called again within a day for the same
        file, it sends only the parts that the server has not. Raises ApiError, ConnectionFailed, OSError.
        """
        path = Path(path)
        with path.open("rb") as file:
            digest, size = _digest(file)
            about = {"filename": path.name, "bytes": size, "sha256": digest}
            key = hashlib.sha256(repr(sorted(about.items())).encode()).hexdigest()
            upload = self._begin(about, f"upload-{key}")
            if upload["status"] != "completed":
                self._parts(file, upload, on_progress)
                self._transport.request("POST", f"/uploads/{upload['id']}/complete")
        upload_id: str = upload["id"]
        return upload_id

    def _begin(self, about: Json, key: str) -> Json:
        headers = {"Idempotency-Key": key}
        upload: Json = self._transport.request("POST", "/uploads", json=about, headers=headers).json()
        return upload

    def _parts(self, file: IO[bytes], upload: Json, on_progress: Listener | None) -> None:
        there = {part["number"]: part["bytes"] for part in upload["parts"]}
        for number in range(1, upload["part_count"] + 1):
            if number not in there:
                file.seek((number - 1) * upload["part_bytes"])
                there[number] = self._part(upload["id"], number, file.read(upload["part_bytes"]))
            if on_progress:
                on_progress(sum(there.values()), upload["bytes"])

    def _part(self, upload_id: str, number: int, content: bytes) -> int:
        digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
        headers = {"Content-Type": "application/octet-stream", "Content-Digest": f"sha-256=:{digest}:"}
        path = f"/uploads/{upload_id}/parts/{number}"
        self._transport.request("PUT", path, content=content, headers=headers)
        return len(content)


def _digest(file: IO[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    while piece := file.read(PIECE_BYTES):
        digest.update(piece)
        size += len(piece)
    return digest.hexdigest(), size
