"""`python -m app` as a process of its own: streams, large bodies, broken connections, the end."""

import contextlib
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dfad_core.contract.job_result import JobResult
from dfad_core.contract.serialization import from_json
from testing.services import free_port

SPEC = json.dumps({"student": {"architecture": "mlp8"}, "budget": {"steps": 5}})
MIB = 2**20


def limited(max_files: int | None) -> list[str]:
    """A command before another, which then has no more files open than this."""
    return [] if max_files is None else ["prlimit", f"--nofile={max_files}:{max_files}"]


class Server:
    """A running server and what is left of it."""

    def __init__(self, home: Path, max_files: int | None = None, **settings: str) -> None:
        self.port = free_port()
        self.home, self.url = home, f"http://127.0.0.1:{self.port}"
        self._log = home / "server.log"
        given = {f"DFAD_{name.upper()}": value for name, value in settings.items()}
        env = {**os.environ, **given, "DFAD_HOME": str(home), "DFAD_PORT": str(self.port)}
        with self._log.open("wb") as out:
            command = [*limited(max_files), sys.executable, "-m", "app"]
            self.process = subprocess.Popen(command, env=env, stdout=out, stderr=out)
        self._wait()

    def _wait(self) -> None:
        for _ in range(600):
            try:
                httpx.get(f"{self.url}/healthz")
            except httpx.TransportError:
                assert self.process.poll() is None, self.log()
                time.sleep(0.05)
            else:
                return
        pytest.fail(self.log())

    def log(self) -> str:
        return self._log.read_text()

    def submit(self, content: Any = b"PK\x03\x04weights", **options: Any) -> httpx.Response:
        files = {"teacher": ("t.pt", content), "spec": (None, SPEC)}
        return httpx.post(f"{self.url}/jobs", files=files, timeout=60, **options)

    def raw(self, request: bytes, address: str = "127.0.0.1") -> socket.socket:
        """A connection on which `request` has been sent, and nothing after it."""
        connection = socket.create_connection(("127.0.0.1", self.port), 30, source_address=(address, 0))
        connection.sendall(request)
        return connection

    def peak_bytes(self) -> int:
        """The most memory that the process has held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024


@pytest.fixture
def serve(home: Path, database: str) -> Iterator[Callable[..., Server]]:
    """Starts servers over the test's database."""
    started: list[Server] = []

    def start(**settings: Any) -> Server:
        started.append(Server(home, **settings))
        return started[-1]

    yield start
    for server in started:
        server.process.kill()
        server.process.wait()


def claim(job_id: str) -> Any:
    from app.jobs import lifecycle
    from app.platform.db import session_scope

    with session_scope() as session:
        return lifecycle.claim(session, job_id, "w")


def succeed(held: Any) -> None:
    from app.jobs import lifecycle
    from app.platform.db import session_scope

    with session_scope() as session:
        assert lifecycle.succeed(session, held, from_json(JobResult, {}))


STREAM = {"Accept": "text/event-stream"}
PART_BEGUN = b'--b\r\nContent-Disposition: form-data; name="teacher"; filename="t"\r\n\r\n'


def read_stream(url: str, on_line: Callable[[str, list[str]], None], **headers: str) -> list[str]:
    """Every line until the server closes the stream."""
    lines: list[str] = []
    with httpx.stream("GET", url, headers={**STREAM, **headers}, timeout=30) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            lines.append(line)
            on_line(line, lines)
    return lines


def test_a_stream_is_live_keeps_alive_and_ends(serve: Callable[..., Server]) -> None:
    server = serve(sse_keep_alive_seconds="0.2")
    job_id = server.submit().json()["id"]
    held: list[Any] = []

    def next_step(line: str, lines: list[str]) -> None:
        # What happens next is made to happen only once the line before has arrived: the stream is live.
        if line == "event: job.queued":
            held.append(claim(job_id))
        if line.startswith(":") and "event: job.running" in lines and held:
            succeed(held.pop())

    url = f"{server.url}/jobs/{job_id}/events"
    lines = read_stream(url, next_step)
    kinds = ["job.queued", "job.running", "job.succeeded"]
    assert [line for line in lines if line.startswith("event")] == [f"event: {kind}" for kind in kinds]
    assert [line for line in lines if line.startswith("id")] == ["id: 1", "id: 2", "id: 3"]
    assert any(line.startswith(":") for line in lines)
    resumed = read_stream(url, lambda *_: None, **{"Last-Event-ID": "2"})
    assert [line for line in resumed if line.startswith("id")] == ["id: 3"]


@pytest.mark.parametrize("processes", ["1", "2"])
def test_many_streams_hold_no_thread_and_end_with_the_server(
    serve: Callable[..., Server], processes: str
) -> None:
    server = serve(server_processes=processes)
    job_id = server.submit().json()["id"]
    request = f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n"
    waiting = f"GET /jobs/{job_id} HTTP/1.1\r\nHost: x\r\nPrefer: wait=60\r\n\r\n"
    # More than the pool has threads.
    open_streams = [server.raw(request.encode()) for _ in range(50)]
    open_polls = [server.raw(waiting.encode()) for _ in range(50)]
    assert all(b"200 OK" in stream.recv(4096) for stream in open_streams)
    assert httpx.get(f"{server.url}/jobs", timeout=30).status_code == 200
    server.process.send_signal(signal.SIGTERM)
    for stream in open_streams:
        assert stream.makefile("rb").read().endswith(b"0\r\n\r\n")  # closed in good order
    for poll in open_polls:
        answer = poll.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200")
        assert b'"status":"queued"' in answer
    server.process.wait(timeout=30)
    assert "Traceback" not in server.log()


def test_a_killed_server_leaves_no_counts_to_the_next(serve: Callable[..., Server]) -> None:
    def folders(server: Server) -> set[Path]:
        return set((server.home / "scratch").glob("counts-*"))

    killed = serve(server_processes="2")
    (left,) = folders(killed)
    httpx.get(f"{killed.url}/jobs")
    children = Path(f"/proc/{killed.process.pid}/task/{killed.process.pid}/children").read_text().split()
    killed.process.kill()
    killed.process.wait()
    for child in children:  # what nobody asks any more
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    living = serve(server_processes="2")
    (own,) = folders(living)
    assert own != left
    other = serve(server_processes="2")
    assert own in folders(other), "that of a server that lives stays"
    assert httpx.get(f"{living.url}/jobs").status_code == 200


def test_a_large_upload_is_not_held_in_memory(serve: Callable[..., Server]) -> None:
    server = serve()
    server.submit()
    before = server.peak_bytes()
    piece = os.urandom(MIB)

    tail = f'\r\n--b\r\nContent-Disposition: form-data; name="spec"\r\n\r\n{SPEC}\r\n--b--\r\n'.encode()

    def body() -> Iterator[bytes]:
        yield PART_BEGUN
        yield b"PK\x03\x04" + piece[4:]
        yield from [piece] * 63
        yield tail

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = httpx.post(f"{server.url}/jobs", content=body(), headers=headers, timeout=60)
    assert answer.status_code == 201
    teacher = httpx.get(f"{server.url}/teachers/{answer.json()['teacher']['id']}").json()
    assert teacher["bytes"] == 64 * MIB
    from sqlalchemy import select

    from app.models import Artifact
    from app.platform.db import read_scope

    with read_scope() as session:
        artifact_id = session.scalar(select(Artifact.id).where(Artifact.bytes == 64 * MIB))
    with httpx.stream("GET", f"{server.url}/artifacts/{artifact_id}", timeout=60) as download:
        assert sum(len(part) for part in download.iter_bytes()) == 64 * MIB
    assert server.peak_bytes() - before < 32 * MIB
    assert list((server.home / "scratch").iterdir()) == []


def test_who_is_refused_early_still_reads_why(serve: Callable[..., Server]) -> None:
    server = serve(api_key="the-operators-key", max_upload_bytes=str(MIB), max_json_bytes=str(MIB))
    large = b"PK\x03\x04" + os.urandom(16 * MIB - 4)
    assert server.submit(large).status_code == 401
    key = {"Authorization": "Bearer the-operators-key"}
    by_header = server.submit(large, headers=key)
    assert (by_header.status_code, by_header.json()["code"]) == (413, "payload_too_large")

    def chunked() -> Iterator[bytes]:
        yield PART_BEGUN
        yield from [large[:MIB]] * 16

    for kind in ("application/json", "multipart/form-data; boundary=b"):
        headers = {**key, "Content-Type": kind}
        answer = httpx.post(f"{server.url}/jobs", content=chunked(), headers=headers, timeout=60)
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")
    assert httpx.get(f"{server.url}/jobs", headers=key).json()["data"] == []


def test_a_large_file_that_is_no_teacher_is_refused_while_it_is_sent(serve: Callable[..., Server]) -> None:
    server = serve(artifact_store="filesystem")

    def body() -> Iterator[bytes]:
        yield PART_BEGUN
        yield from [b"text " * (MIB // 5)] * 16

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = httpx.post(f"{server.url}/jobs", content=body(), headers=headers, timeout=60)
    assert (answer.status_code, answer.json()["code"]) == (422, "unsupported_format")
    assert [path for path in (server.home / "artifacts").rglob("*") if path.is_file()] == []


def upload_begun(length: int) -> bytes:
    """The beginning of an upload that says it will be `length` bytes."""
    return (
        f"POST /jobs HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n"
        "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
    ).encode() + PART_BEGUN


def test_a_client_that_goes_away_leaves_nothing(
    serve: Callable[..., Server], stored: Callable[[], dict[str, int]]
) -> None:
    server = serve(upload_stall_seconds="5")  # what ends an upload whose connection's end goes unnoticed
    for _ in range(3):
        connection = server.raw(upload_begun(10 * MIB))
        connection.sendall(b"x" * 3 * MIB)
        connection.close()
    assert server.submit().status_code == 201
    for _ in range(300):  # the server notices in its own time
        if stored()["artifact_chunks"] == 1:
            break
        time.sleep(0.1)
    assert stored()["jobs"] == stored()["teachers"] == stored()["artifact_chunks"] == 1
    assert list((server.home / "scratch").iterdir()) == []
    assert "Traceback" not in server.log()


def test_an_upload_that_stalls_is_given_up(
    serve: Callable[..., Server], stored: Callable[[], dict[str, int]]
) -> None:
    server = serve(upload_stall_seconds="0.5")
    connection = server.raw(upload_begun(10 * MIB) + b"x" * 1000)
    answer = connection.makefile("rb").read()  # up to the end of the connection
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"upload_stalled"' in answer
    assert stored() == {}


def test_a_body_that_comes_byte_by_byte_is_given_up(serve: Callable[..., Server]) -> None:
    server = serve(upload_stall_seconds="0.5")
    head = b"POST /keys HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
    connection = server.raw(head)
    connection.settimeout(0.1)
    answer = b""
    for _ in range(300):  # never silent for half a second
        with contextlib.suppress(OSError):
            connection.sendall(b" ")
            answer += connection.recv(4096)
        if b"upload_stalled" in answer:
            break
    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="prlimit is not installed on this machine")
@pytest.mark.parametrize("processes", ["1", "2"])
def test_heads_without_an_end_take_nobody_elses_files(serve: Callable[..., Server], processes: str) -> None:
    server = serve(max_files=400, server_processes=processes)
    unfinished = [server.raw(b"GET / HTTP/1.1\r\nHost: x\r\n", f"127.0.0.{2 + n % 8}") for n in range(800)]
    for _ in range(20):
        assert httpx.get(f"{server.url}/jobs", timeout=30).status_code == 200
    for connection in unfinished:
        connection.close()
    assert "more connections" in server.log()
    assert "Too many open files" not in server.log()


def test_the_server_may_open_as_many_files_as_the_system_allows(serve: Callable[..., Server]) -> None:
    server = serve()
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    assert soft == (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536))


def test_thousands_of_connections_wait_while_the_server_is_busy(serve: Callable[..., Server]) -> None:
    wanted = 3000
    allowed = int(Path("/proc/sys/net/core/somaxconn").read_text())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if min(allowed, hard) < wanted + 500:
        pytest.skip("this machine allows too few connections or files")
    server = serve()
    opened: list[socket.socket] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    server.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(wanted):
            # One that is dropped would be tried again after a second, and then again.
            opened.append(socket.create_connection(("127.0.0.1", server.port), timeout=0.9))
    finally:
        server.process.send_signal(signal.SIGCONT)
        for connection in opened:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert httpx.get(f"{server.url}/healthz").status_code == 200
