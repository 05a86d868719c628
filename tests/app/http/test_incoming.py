"""Files on their way in: no part but the file is large, and a tenant's quota holds while bytes arrive."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from testing.services import free_port
from tests.app.http.test_server import PART_BEGUN, SPEC

MIB = 2**20
QUOTA = 4 * MIB
SPEC_BEGUN = b'--b\r\nContent-Disposition: form-data; name="spec"; filename="s.json"\r\n\r\n'
TAIL = f'\r\n--b\r\nContent-Disposition: form-data; name="spec"\r\n\r\n{SPEC}\r\n--b--\r\n'.encode()
FORM_ROUTES = ["/jobs", "/jobs/validate", "/teachers"]


class Sending:
    """A request whose body is sent in chunks, without saying how long it will be."""

    def __init__(self, server: Server, path: str, method: str = "POST", **headers: str) -> None:
        given = {"Content-Type": "multipart/form-data; boundary=b"}
        given |= {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", "Host: x", "Transfer-Encoding: chunked"]
        lines += [f"{name}: {value}" for name, value in given.items()]
        self._connection = server.raw("\r\n".join([*lines, "", ""]).encode())

    def send(self, data: bytes) -> None:
        self._connection.sendall(b"%x\r\n" % len(data) + data + b"\r\n")

    def answer(self) -> tuple[int, str]:
        """Status and code of the answer, which comes although the body goes on."""
        answer = self._connection.recv(65536)
        while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
            more = self._connection.recv(65536)
            assert more, answer
            answer += more
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), json.loads(body).get("code", "")

    def answered(self) -> bool:
        """Whether the answer is there already."""
        self._connection.setblocking(False)
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK))
        except BlockingIOError:
            return False
        finally:
            self._connection.setblocking(True)

    def end(self) -> tuple[int, str]:
        self._connection.sendall(b"0\r\n\r\n")
        return self.answer()

    def break_off(self) -> None:
        self._connection.close()


class Server:
    """The service on a port of this process."""

    def __init__(self, home: Path) -> None:
        from app.main import create_app

        self.home = home
        config = uvicorn.Config(
            create_app(), port=free_port(), log_config=None, lifespan="off", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run)
        self._thread.start()
        eventually(lambda: self._server.started)
        self._port = config.port
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{config.port}", timeout=30)

    def raw(self, request: bytes) -> socket.socket:
        """A connection on which `request` has been sent, and nothing after it."""
        connection = socket.create_connection(("127.0.0.1", self._port), timeout=30)
        connection.sendall(request)
        return connection

    def close(self) -> None:
        self.client.close()
        self._server.should_exit = True
        self._thread.join()


@pytest.fixture
def serve(home: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Server]]:
    """Starts the service with settings."""
    started: list[Server] = []

    def start(**settings: str) -> Server:
        for name, value in settings.items():
            monkeypatch.setenv(f"DFAD_{name.upper()}", value)
        started.append(Server(home))
        return started[-1]

    yield start
    for server in started:
        server.close()


def with_quota(serve: Callable[..., Server], **settings: str) -> Server:
    return serve(quotas=json.dumps({"*": {"stored_bytes": QUOTA}}), **settings)


def held_bytes() -> int:
    """What the database holds of files, whether a row names them or not."""
    from sqlalchemy import func, select

    from app.models import ArtifactChunk
    from app.platform.db import read_scope

    with read_scope() as session:
        return int(session.scalar(select(func.sum(func.length(ArtifactChunk.data)))) or 0)


def eventually(condition: Callable[[], Any]) -> None:
    """A server notices in its own time that somebody is gone."""
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("path", FORM_ROUTES)
def test_parts_that_are_not_the_file_are_refused_while_they_come(
    serve: Callable[..., Server],
    path: str,
) -> None:
    server = serve()
    unlabelled = b'; filename="s.json"'
    for content, expected in [
        (SPEC_BEGUN + b" " * (MIB + 1), (413, "payload_too_large")),
        (SPEC_BEGUN.replace(unlabelled, b"") + b" " * (MIB + 1), (413, "payload_too_large")),
        (SPEC_BEGUN.replace(b'"spec"', b'"weights"'), (422, "unknown_field")),
        (SPEC_BEGUN.replace(b'"spec"' + unlabelled, b'"weights"'), (422, "unknown_field")),
        (SPEC_BEGUN + b"{}\r\n" + SPEC_BEGUN, (422, "invalid_request")),
        (PART_BEGUN + b"PK\x03\x04\r\n" + PART_BEGUN, (422, "invalid_request")),
        (PART_BEGUN.replace(b'; filename="t"', b""), (422, "invalid_request")),
    ]:
        sending = Sending(server, path)
        sending.send(content)
        assert sending.answer() == expected, content[:200]


def test_a_labelled_spec_is_taken_as_it_is(serve: Callable[..., Server]) -> None:
    server = serve()
    files = {"teacher": ("t.pt", b"PK\x03\x04weights"), "spec": ("s.json", SPEC, "application/json")}
    assert server.client.post("/jobs", files=files).status_code == 201
    files["spec"] = ("s.json", b'{"metadata": {"a": "\xff"}}', "application/json")
    assert server.client.post("/jobs", files=files).json()["code"] == "malformed_json"


@pytest.mark.parametrize("path", FORM_ROUTES)
def test_a_body_ends_where_it_passes_the_quota(serve: Callable[..., Server], path: str) -> None:
    sending = Sending(with_quota(serve), path)
    sending.send(PART_BEGUN + b"PK\x03\x04" + b"x" * QUOTA)
    assert sending.answer() == (429, "quota_exceeded")
    eventually(lambda: held_bytes() == 0)


def test_a_dry_run_stores_nothing(serve: Callable[..., Server]) -> None:
    server = with_quota(serve)
    sending = Sending(server, "/jobs/validate")
    sending.send(PART_BEGUN + b"PK\x03\x04" + b"x" * 3 * MIB)
    time.sleep(0.5)  # a wait for something that must not happen
    assert server.client.get("/healthz").status_code == 200
    assert held_bytes() == 0
    sending.send(TAIL)
    assert sending.end() == (200, "")
    assert held_bytes() == 0


def test_requests_at_the_same_time_count_each_other(serve: Callable[..., Server]) -> None:
    server = with_quota(serve)
    share = b"PK\x03\x04" + b"x" * (2 * QUOTA // 5)
    sent = [Sending(server, path) for path in ("/jobs", "/teachers")]
    for number, sending in enumerate(sent):
        sending.send(PART_BEGUN + share + b"%d" % number)
    eventually(lambda: held_bytes() >= 2 * MIB)  # both have begun
    third = Sending(server, "/jobs/validate")
    third.send(PART_BEGUN + share)
    assert third.answer() == (429, "quota_exceeded")
    assert not any(sending.answered() for sending in sent)
    for sending in sent:
        sending.send(TAIL if sending is sent[0] else b"\r\n--b--\r\n")
        assert sending.end()[0] == 201


@pytest.mark.parametrize("store", ["database", "filesystem"])
def test_what_ends_makes_room_at_once(serve: Callable[..., Server], store: str) -> None:
    """A client that goes away, and a body that is refused in its middle."""
    server = with_quota(serve, artifact_store=store)
    large = b"PK\x03\x04" + b"x" * (4 * QUOTA // 5)

    def fits() -> bool:
        sending = Sending(server, "/teachers")
        sending.send(PART_BEGUN + large + b"\r\n--b--\r\n")
        return sending.end()[0] == 201

    gone = Sending(server, "/jobs")
    gone.send(PART_BEGUN + large)
    gone.break_off()
    eventually(fits)
    (teacher,) = server.client.get("/teachers").json()["data"]
    assert server.client.delete(f"/teachers/{teacher['id']}").status_code == 204
    refused = Sending(server, "/jobs")
    refused.send(PART_BEGUN + large + b"\r\n--b\r\nContent-Disposition: form-data; name=other\r\n\r\n")
    assert refused.answer() == (422, "unknown_field")
    assert fits()
    folder = server.home / "artifacts"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) <= len(large)


def test_parts_of_uploads_count_while_they_arrive(serve: Callable[..., Server]) -> None:
    server = with_quota(serve)
    part = b"x" * (3 * QUOTA // 5)
    digest = base64.b64encode(hashlib.sha256(part).digest()).decode()
    about = {"Content_Type": "application/octet-stream", "Content_Digest": f"sha-256=:{digest}:"}
    asked = {"filename": "t", "bytes": len(part), "sha256": "0" * 64}
    begun = [server.client.post("/uploads", json=asked).json()["id"] for _ in range(2)]
    first = Sending(server, f"/uploads/{begun[0]}/parts/1", "PUT", **about)
    first.send(part)
    eventually(lambda: held_bytes() >= 2 * MIB)
    # The size of a part is known: it is refused before its first byte.
    second = Sending(server, f"/uploads/{begun[1]}/parts/1", "PUT", **about)
    assert second.answer() == (429, "quota_exceeded")
    assert first.end() == (200, "")


def test_what_others_keep_meanwhile_counts(serve: Callable[..., Server]) -> None:
    """Such as a worker, or another server process."""
    from app.models import Artifact
    from app.platform.db import database_now, session_scope
    from app.platform.ids import new_id

    sending = Sending(with_quota(serve), "/jobs")
    sending.send(PART_BEGUN + b"PK\x03\x04" + b"x" * (QUOTA // 2))
    eventually(lambda: held_bytes() > 0)
    with session_scope() as session:
        about = {"tenant_id": "local", "filename": "s", "bytes": 3 * QUOTA // 5, "sha256": "0" * 64}
        now = database_now(session)
        session.add(Artifact(id=new_id("art"), kind="student", created_at=now, published_at=now, **about))

    def ended() -> bool:
        sending.send(b"x")
        return sending.answered()

    eventually(ended)
    assert sending.answer() == (429, "quota_exceeded")
    eventually(lambda: held_bytes() == 0)


def test_a_length_that_does_not_fit_is_refused_before_the_body(serve: Callable[..., Server]) -> None:
    server = with_quota(serve)
    for path in FORM_ROUTES:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {3 * QUOTA}\r\n"
        connection = server.raw((head + "Content-Type: multipart/form-data; boundary=b\r\n\r\n").encode())
        assert connection.recv(65536).startswith(b"HTTP/1.1 429")
