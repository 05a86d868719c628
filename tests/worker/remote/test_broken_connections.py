"""Connections that break: nothing is lost, nothing doubled, and a file goes on where it ended."""

from __future__ import annotations

import random
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from app.jobs import lifecycle
from app.leases.files import StoredFile, nothing
from app.leases.holding import owner_of
from app.leases.records import LeaseLost
from app.models import Artifact
from app.models.worker_beat import WorkerReport
from app.platform.db import session_scope
from app.platform.settings import Settings
from app.storage import IntegrityError, StoreAway, get_store
from worker import attempt_runner
from worker.attempt_runner import Attempt
from worker.remote import connection
from worker.remote.connection import KeyRefused, Refused
from worker.remote.service import RemoteService
from worker.service import ServiceAway


class Line(threading.Thread):
    """Passes on bytes to a server, and cuts connections when a rule says so."""

    def __init__(self, server: str) -> None:
        super().__init__(daemon=True)
        self._to = ("127.0.0.1", int(server.rpartition(":")[2]))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        #: Bytes to the server, and from it, after which the connection is cut; of each new connection.
        self.limits: Callable[[], tuple[float, float]] = lambda: (float("inf"), float("inf"))
        self.received = 0
        """Bytes that came from the server."""

    def run(self) -> None:
        """Until the test's end."""
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(self._to)
            up, down = self.limits()
            threading.Thread(target=self._pass, args=(client, server, up, False), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, down, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, left: float, counts: bool) -> None:
        try:
            while left > 0 and (data := source.recv(int(min(left, 65536)))):
                left -= len(data)
                self.received += len(data) if counts else 0
                target.sendall(data)
        except OSError:
            pass
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def close(self) -> None:
        """No more connections."""
        self._listening.close()


@pytest.fixture
def line(http_server: str) -> Iterator[Line]:
    """Between the worker and the server."""
    made = Line(http_server)
    made.start()
    yield made
    made.close()


@pytest.fixture
def claimed(line: Line, worker_key: Any, stored_jobs: Any) -> Iterator[Any]:
    """Claims a job; the service over the line and the claim."""
    key_id, token = worker_key()
    made = RemoteService(Settings(server=line.url, api_key=token))

    def claim(job_id: str) -> Any:
        secret = secrets.token_urlsafe(32)
        with session_scope() as session:
            held = lifecycle.claim(session, job_id, owner_of(made.name, key_id, secret))
        assert held is not None
        made.keep_secret(held, secret)
        return made, held

    yield claim
    made.close()


def once(up: float = float("inf"), down: float = float("inf")) -> Callable[[], tuple[float, float]]:
    """Cut the next connection alone."""
    left = [(up, down)]
    return lambda: left.pop() if left else (float("inf"), float("inf"))


@pytest.mark.parametrize("cut", [{"up": 2_000_000}, {"down": 50}], ids=["in mid-upload", "before its answer"])
def test_an_upload_is_repeated_and_published_once(
    cut: Any, line: Line, claimed: Any, stored_jobs: Any, orphans: Any
) -> None:
    remote, held = claimed(stored_jobs.submit())
    state = random.Random(1).randbytes(5_000_000)
    line.limits = once(**cut)
    with pytest.raises(ServiceAway):
        remote.store(held, "checkpoint", "checkpoint", 7, state)
    file = remote.store(held, "checkpoint", "checkpoint", 7, state)
    remote.publish_file(held, file)
    remote.publish_file(held, file)
    (kept,) = stored_jobs.artifacts(held.job_id)["checkpoint"]
    assert b"".join(get_store().read(kept.id)) == state
    # What was whole before its answer was lost is nobody's, and swept with the orphans of a day.
    deadline = time.monotonic() + 20
    while len(orphans()) > ("down" in cut) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(orphans()) == ("down" in cut)


def test_a_download_goes_on_where_it_broke_off(
    line: Line, claimed: Any, stored_jobs: Any, tmp_path: Any
) -> None:
    content = random.Random(2).randbytes(6_000_000)
    remote, held = claimed(stored_jobs.submit(stored_jobs.teacher(content)))
    sources = remote.sources(held)
    remote.close()
    remote.connection = connection.Connection(line.url, remote_key(remote), remote.name)
    line.received, line.limits = 0, once(down=4_000_000)
    remote.fetch(held, sources.files[0], tmp_path / "teacher.bin", nothing)
    assert (tmp_path / "teacher.bin").read_bytes() == content
    assert line.received < 7_000_000, "the part that had come was not sent again"


def remote_key(remote: RemoteService) -> str:
    return str(remote.connection._http.headers["authorization"].removeprefix("Bearer "))


def test_a_file_that_the_store_has_lost_is_damaged(claimed: Any, stored_jobs: Any, tmp_path: Any) -> None:
    teacher = stored_jobs.teacher(b"PK\x03\x04" + b"x" * 3_000_000)
    remote, held = claimed(stored_jobs.submit(teacher))
    (file,) = remote.sources(held).files
    get_store().delete(file.id)
    with pytest.raises(IntegrityError):
        remote.fetch(held, file, tmp_path / "teacher.bin", nothing)
    assert not (tmp_path / "teacher.bin").exists()


def test_a_store_that_is_away_damages_nothing(claimed: Any, stored_jobs: Any, tmp_path: Any) -> None:
    remote, held = claimed(stored_jobs.submit())
    (file,) = remote.sources(held).files
    with session_scope() as session:  # a store of which the server's settings say nothing
        session.execute(update(Artifact).where(Artifact.id == file.id).values(store="s3"))
    with pytest.raises(StoreAway):
        remote.fetch(held, file, tmp_path / "teacher.bin", nothing)
    assert Attempt(held, lambda: False, service=remote).run() == "requeued"
    row = stored_jobs.row(held.job_id)
    assert (row.status, row.attempt, row.waiting_reason) == ("queued", 0, "storage_full")


def test_an_attempt_over_a_line_that_keeps_breaking(
    scripted: Any, line: Line, claimed: Any, stored_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each connection lives for some requests; answers are lost as often as requests."""
    monkeypatch.setattr(attempt_runner, "AWAY_SECONDS", 0.01)
    chance = random.Random(3)
    remote, held = claimed(scripted("finish"))
    remote.sign_of_life(WorkerReport(takes=("auto",)))
    line.limits = lambda: (chance.uniform(300, 6000), chance.uniform(100, 3000))
    assert Attempt(held, lambda: False, service=remote).run() == "succeeded" or (
        stored_jobs.row(held.job_id).status == "succeeded"  # and the answer to that was lost
    )
    events = [(e.type, str(e.data)) for e in stored_jobs.events(held.job_id)]
    assert len(events) == len(set(events))
    kept = stored_jobs.artifacts(held.job_id)
    assert [len(kept[kind]) for kind in ("student", "manifest", "samples")] == [1, 1, 1]
    assert b"".join(get_store().read(kept["student"][0].id)) == b"a student"


def test_what_answers_mean(claimed: Any, http_server: str, stored_jobs: Any) -> None:
    remote, held = claimed(stored_jobs.submit())
    file = StoredFile("art_1", "samples", "samples-1.png", "image/png", 1, "0" * 64, 1, receipt="no.receipt")
    with pytest.raises(LeaseLost):
        remote.publish_file(replace(held, fence=held.fence + 1), file)
    with pytest.raises(Refused):
        remote.publish_file(held, file)
    with pytest.raises(KeyRefused):
        RemoteService(Settings(server=http_server, api_key="no key at all")).sign_of_life(WorkerReport())
    with pytest.raises(ServiceAway):
        RemoteService(Settings(server="http://127.0.0.1:1", api_key="x" * 12)).sign_of_life(WorkerReport())
