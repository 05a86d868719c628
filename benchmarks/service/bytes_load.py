"""Upload and download of a large teacher, beside writing and hashing the same bytes on the same disk."""

from __future__ import annotations

import hashlib
import http.client
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from testing.processes import below
from testing.stack import Stack, wait_until_ready

MIB = 2**20
BOUNDARY = "dfad-benchmark"


class Memory(threading.Thread):
    """The largest resident memory of the server's processes, beyond what they hold at the start."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pids = [pid, *below(pid)]
        self._over = threading.Event()
        self._idle = {pid: _resident(pid) for pid in self._pids}
        self.grown = 0

    def run(self) -> None:
        """Until `stop`."""
        while not self._over.wait(0.02):
            self.grown = max(self.grown, *(_resident(pid) - self._idle[pid] for pid in self._pids))

    def stop(self) -> int:
        """How many bytes the one that grew most did grow by."""
        self._over.set()
        self.join()
        return self.grown


def _resident(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except FileNotFoundError:  # it has ended
        return 0
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def pieces(size: int, piece: bytes) -> Iterator[bytes]:
    """`size` bytes, a MiB at a time."""
    for _ in range(size // MIB):
        yield piece


def write_and_hash(path: Path, size: int) -> float:
    """Seconds to write and hash `size` bytes, safely on the disk at the end."""
    piece, digest = os.urandom(MIB), hashlib.sha256()
    begun = time.perf_counter()
    with path.open("wb") as file:
        for part in pieces(size, piece):
            digest.update(part)
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - begun


def read_and_hash(path: Path) -> float:
    """Seconds to read and hash the file again."""
    digest, begun = hashlib.sha256(), time.perf_counter()
    with path.open("rb") as file:
        while part := file.read(MIB):
            digest.update(part)
    return time.perf_counter() - begun


def upload(port: int, size: int) -> tuple[float, str]:
    """Seconds to send a teacher of `size` bytes, and its id."""
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="teacher"; filename="t.safetensors"\r\n\r\n'
    ).encode()
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()
    piece = b"PK\x03\x04" + os.urandom(MIB - 4)  # what begins as no model file is refused
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    begun = time.perf_counter()
    connection.putrequest("POST", "/teachers")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={BOUNDARY}")
    connection.putheader("Content-Length", str(len(head) + size + len(tail)))
    connection.endheaders(head)
    for part in pieces(size, piece):
        connection.send(part)
    connection.send(tail)
    answer = connection.getresponse()
    body = answer.read()
    seconds = time.perf_counter() - begun
    if answer.status != 201:
        raise RuntimeError(f"the upload was refused: {body[:500]!r}")
    import json

    return seconds, str(json.loads(body)["id"])


def download(port: int, path: str, size: int) -> float:
    """Seconds to fetch it and hash it, as a client does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    begun, digest, got = time.perf_counter(), hashlib.sha256(), 0
    connection.request("GET", path)
    answer = connection.getresponse()
    while part := answer.read(MIB):
        digest.update(part)
        got += len(part)
    if got != size:
        raise RuntimeError(f"{got} bytes came of {size}")
    return time.perf_counter() - begun


def measure(folder: Path, store: str, size: int, *, full: bool = False) -> dict[str, Any]:
    """One store: seconds, their ratio to the disk's own, and how the server's memory grew."""
    raw = folder / "raw"
    folder.mkdir(parents=True)
    stack = Stack(folder, full=full, more={"DFAD_ARTIFACT_STORE": store})
    try:
        wait_until_ready(stack.url)
        upload(stack.port, MIB)  # what is imported and opened once is there now
        disk, again = write_and_hash(raw, size), read_and_hash(raw)
        memory = Memory(stack.processes["api"].pid)
        memory.start()
        sent, teacher_id = upload(stack.port, size)
        fetched = download(stack.port, f"/artifacts/{_artifact(teacher_id)}", size)
        grown = memory.stop()
    finally:
        stack.close()
    return {
        "store": f"{store} ({'postgresql' if full else 'sqlite'})" if store == "database" else store,
        "bytes": size,
        "write_and_hash_seconds": round(disk, 2),
        "upload_seconds": round(sent, 2),
        "upload_share": round(disk / sent, 3),
        "read_and_hash_seconds": round(again, 2),
        "download_seconds": round(fetched, 2),
        "download_share": round(again / fetched, 3),
        "memory_grown_mib": round(grown / MIB, 1),
    }


def _artifact(teacher_id: str) -> str:
    from app.models import Teacher
    from app.platform.db import read_scope

    with read_scope() as session:
        return session.get_one(Teacher, teacher_id).artifact_id
