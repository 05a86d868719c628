# Made from dfad_client/aio/uploads.py by `python tools/sync_twin.py`: change that one, and run it.
"""Large files in parts: what broke off goes on where it was, also from another process."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import IO

from dfad_client.answers import Json
from dfad_client.files import Listener, digest_of
from dfad_client.folders import one_file
from dfad_client.sync.transport import Transport
from dfad_client.sync.waiting import aside


class Uploads:
    """`client.uploads`."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def send(self, path: str | Path, *, on_progress: Listener | None = None) -> str:
        """The id of a completed upload of that file, to be named as `upload_id` in a job or a teacher.

        A Hugging Face folder may take the place of a file. The upload is known by the file's name, size and
        SHA-256: called again within a day for the same file, it sends only the parts that the server has not.
        `on_progress` is told the bytes that the server has, and those in all, after every part.
        Raises ApiError, ConnectionFailed, OSError.
        """
        with one_file(Path(path)) as source, source.open("rb") as file:
            digest, size = aside(lambda: digest_of(file))
            about = {"filename": source.name, "bytes": size, "sha256": digest}
            key = hashlib.sha256(repr(sorted(about.items())).encode()).hexdigest()
            headers = {"Idempotency-Key": f"upload-{key}"}
            upload: Json = self._transport.json("POST", "/uploads", json=about, headers=headers)
            if upload["status"] != "completed":
                self._parts(file, upload, on_progress)
                self._transport.request("POST", f"/uploads/{upload['id']}/complete")
        upload_id: str = upload["id"]
        return upload_id

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
