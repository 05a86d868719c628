"""What health and readiness say, and that they say it at once whatever hangs."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from app.health import watcher
from app.migrate import downgrade, upgrade
from testing.services import free_port

LIMIT_SECONDS = 2.0
"""Far above what an answer from memory takes, far below what waits for a thread or a lock."""
MORE_THAN_THREADS = 60
LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def server(database: str, home: Path, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts a server process over the test's database; its address."""
    with contextlib.ExitStack() as stack:

        def start(**settings: str) -> str:
            port = free_port()
            log = stack.enter_context((tmp_path / "server.log").open("wb"))
            env = {**os.environ, "DFAD_PORT": str(port), **settings}
            process = subprocess.Popen([sys.executable, "-m", "app"], env=env, stdout=log, stderr=log)
            stack.callback(process.wait)
            stack.callback(process.kill)
            url = f"http://127.0.0.1:{port}"
            until(lambda: answers(url), process)
            return url

        yield start


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def until(holds: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert process is None or process.poll() is None
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def timed(url: str) -> httpx.Response:
    """Health and readiness, each within the limit; the answer of the latter."""
    for path in ("/healthz", "/readyz"):
        begun = time.monotonic()
        answer = httpx.get(f"{url}{path}", timeout=30)
        assert time.monotonic() - begun < LIMIT_SECONDS, path
        assert answer.status_code == 200 or path == "/readyz"
    return answer


@contextlib.contextmanager
def hanging(url: str) -> Iterator[None]:
    """More requests under way than the server has threads, each of which wants to write."""
    body = b'{"url": "https://example.com/hook"}'
    head = f"POST /webhooks HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n"
    request = f"{head}Content-Type: application/json\r\n\r\n".encode() + body
    with contextlib.ExitStack() as stack:
        asked = []
        for _ in range(MORE_THAN_THREADS):
            address = ("127.0.0.1", int(url.rpartition(":")[2]))
            connection = stack.enter_context(socket.create_connection(address, timeout=60))
            connection.sendall(request)
            asked.append(connection)
        time.sleep(1)
        readable, _, _ = select.select(asked, [], [], 0)
        assert readable == [], "they were answered"
        yield


def test_a_locked_database_holds_up_neither(server: Callable[..., str], home: Path) -> None:
    url = server()
    until(lambda: httpx.get(f"{url}/readyz").json()["checks"]["database"] == "ok")
    command = [sys.executable, "-c", LOCK, str(home / "dfad.sqlite3")]
    locker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert locker.stdout is not None
    try:
        assert locker.stdout.readline() == b"locked\n"
        with hanging(url):
            for _ in range(6):
                answer = timed(url)
                time.sleep(1)
            assert answer.status_code == 503
            assert answer.json()["checks"]["database"].startswith("locked")
            assert answer.json()["checks"]["broker"] == "ok"
            locker.communicate()
    finally:
        locker.kill()
        locker.communicate()
    until(lambda: httpx.get(f"{url}/readyz").json()["checks"]["database"] == "ok")


@pytest.mark.services
def test_a_stopped_redis_holds_up_neither(server: Callable[..., str], redis_server: Any) -> None:
    url = server(DFAD_BROKER_URL=redis_server.url)
    until(lambda: httpx.get(f"{url}/readyz").json()["checks"]["broker"] == "ok")
    redis_server.signal(signal.SIGSTOP)
    try:
        until(lambda: timed(url).json()["checks"]["broker"] == "away")
        assert timed(url).json()["checks"]["database"] == "ok"
    finally:
        redis_server.signal(signal.SIGCONT)
    until(lambda: timed(url).json()["checks"]["broker"] == "ok")


def test_each_check_says_how_old_it_is(client: TestClient) -> None:
    answer = client.get("/readyz").json()
    assert set(answer["seen_seconds_ago"]) == set(answer["checks"]) == {
        "database", "worker", "broker", "storage",
    }  # fmt: skip
    assert all(0 <= age < watcher.STALE_SECONDS for age in answer["seen_seconds_ago"].values())


def test_a_look_that_hangs_counts_as_away(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.main import create_app

    hangs, go_on = threading.Event(), threading.Event()

    def hang(_settings: object) -> dict[str, str]:
        if hangs.is_set():
            go_on.wait(60)
        return {"broker": "ok"}

    monkeypatch.setattr(watcher, "_broker", hang)
    monkeypatch.setattr(watcher, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(watcher, "STALE_SECONDS", 1.0)
    with TestClient(create_app()) as client:
        until(lambda: client.get("/readyz").json()["checks"]["broker"] == "ok")
        hangs.set()
        until(lambda: client.get("/readyz").json()["checks"]["broker"] == "away")
        answer = client.get("/readyz").json()
        assert answer["seen_seconds_ago"]["broker"] >= 1.0
        go_on.set()
        until(lambda: client.get("/readyz").json()["checks"]["broker"] == "ok")


def test_a_store_that_cannot_be_written(database: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.main import create_app

    monkeypatch.setenv("DFAD_ARTIFACT_STORE", "filesystem")
    (home / "artifacts").write_text("a file where a folder should be")
    with TestClient(create_app()) as client:
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["storage"]) == (503, "away")


def test_tables_of_another_version(each_database: str) -> None:
    """A worker is alive and the old tables answer; without the revision's look it would be ready."""
    from app.main import create_app
    from worker.heartbeat import beat

    beat()
    with TestClient(create_app()) as client:
        assert client.get("/readyz").json()["status"] == "ready"
        downgrade("-1")
        until(lambda: client.get("/readyz").status_code == 503)
        found = client.get("/readyz").json()["checks"]["database"]
        assert found == "not_migrated: run `python -m app.migrate`"
        upgrade()
        until(lambda: client.get("/readyz").status_code == 200)


def test_no_tables_at_all(home: Path) -> None:
    from app.main import create_app

    home.mkdir()
    with TestClient(create_app()) as client:
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"]["database"].startswith("not_migrated")
