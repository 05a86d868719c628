"""Faults of the world around the service, with real processes. Each test names the guard that it is for;
with that guard taken out it was seen to fail, in the way said there."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from sqlalchemy import func, select

from app.messaging.dispatch import send_due
from app.models import Artifact, JobEvent, OutboxMessage
from app.platform.db import read_scope
from app.platform.settings import get_settings
from dfad_core.contract.job_result import JobResult
from dfad_core.contract.serialization import from_json
from testing.services import Postgres, free_port

LIGHT = "testing.light_worker"
ROOT = Path(__file__).resolve().parents[2]


def light(pause: float, **spec: object) -> dict[str, object]:
    """A job for a runner without an engine that takes `pause` seconds."""
    return {"metadata": {"pause": str(pause)}, **spec}


def kinds(stored_jobs, job_id: str) -> list[str]:
    return [e.type for e in stored_jobs.events(job_id)]


def students(job_id: str) -> int:
    with read_scope() as session:
        mine = (Artifact.job_id == job_id, Artifact.kind == "student")
        return session.scalar(select(func.count()).select_from(Artifact).where(*mine)) or 0


def done(row) -> bool:
    return row.finished_at is not None


def test_a_worker_that_slept_past_its_lease_writes_nothing(database, workers, stored_jobs):
    """Guard: fence and owner in every write (`lifecycle._held`).

    Without it the sleeper's late report moves the other attempt's row, or ends the job a second time.
    """
    job_id = stored_jobs.submit(**light(3))
    send_due()
    sleeper = workers.start(LIGHT)
    stored_jobs.wait(job_id, lambda row: row.phase == "distilling", 60)
    workers.signal(sleeper, signal.SIGSTOP)
    workers.start(LIGHT)
    stored_jobs.wait(job_id, lambda row: row.attempt == 2, 60)
    workers.signal(sleeper, signal.SIGCONT)
    row = stored_jobs.wait(job_id, done, 60)
    assert (row.status, row.attempt) == ("succeeded", 2)
    time.sleep(3.5)  # the sleeper ends its work meanwhile
    assert kinds(stored_jobs, job_id).count("job.succeeded") == 1
    assert kinds(stored_jobs, job_id)[-1] == "job.succeeded"
    assert students(job_id) == 1


@pytest.mark.services
@pytest.mark.parametrize("fault", ["killed", "flushed", "halted"])
def test_redis_comes_to_harm_and_nothing_is_lost(
    database, redis_server, workers, stored_jobs, monkeypatch, fault
):
    """Guard: the row is the truth; the reconciler announces again (`announce_again`).

    Without it the jobs whose messages were flushed stay queued for ever.
    """
    monkeypatch.setenv("DFAD_BROKER_URL", redis_server.url)
    get_settings.cache_clear()
    workers.start(LIGHT)
    first = stored_jobs.submit(**light(3))
    send_due()
    stored_jobs.wait(first, lambda row: row.phase == "distilling", 60)
    others = [stored_jobs.submit(**light(0)) for _ in range(3)]
    send_due()
    match fault:
        case "killed":
            redis_server.kill()
            redis_server.start()
        case "flushed":
            redis_server.run("FLUSHALL")
        case "halted":
            redis_server.signal(signal.SIGSTOP)
            time.sleep(5)
            redis_server.signal(signal.SIGCONT)
    rows = [stored_jobs.wait(job_id, done, 90) for job_id in (first, *others)]
    assert [(row.status, row.attempt) for row in rows] == [("succeeded", 1)] * 4


@pytest.mark.services
def test_redis_is_down_when_a_job_comes(database, redis_server, workers, stored_jobs, monkeypatch):
    """Guard: the outbox. Without it the job would be refused, or stay queued for a minute or more."""
    monkeypatch.setenv("DFAD_BROKER_URL", redis_server.url)
    get_settings.cache_clear()
    workers.start(LIGHT)
    redis_server.kill()
    job_id = stored_jobs.submit(**light(0))
    assert send_due() == 0
    redis_server.start()
    assert stored_jobs.wait(job_id, done, 60).status == "succeeded"


DIES_AFTER_COMMIT = """
import os, sys
import app.jobs.service as service
service.send_due = lambda: os.kill(os.getpid(), 9)
from app.__main__ import main
sys.exit(main())
"""


def test_the_api_dies_between_commit_and_publish(database, workers, stored_jobs, tiny_teacher, tmp_path):
    """Guard: the outbox row in the same commit, sent by any worker's reconciler.

    Without the row the job waits until it is announced again; here that is put off for an hour.
    """
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DFAD_PORT": str(port)}
    with (tmp_path / "api.log").open("wb") as log:
        api = subprocess.Popen(
            [sys.executable, "-c", DIES_AFTER_COMMIT], env=environment, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(lambda: _healthy(url))
        spec = '{"student": {"architecture": "mlp8"}, "metadata": {"pause": "0"}}'
        files = {"spec": (None, spec, "application/json"), "teacher": ("t", tiny_teacher.read_bytes())}
        with pytest.raises(httpx.TransportError):
            httpx.post(f"{url}/jobs", files=files, timeout=30)
        assert api.wait(20) == -signal.SIGKILL
    finally:
        api.kill()
        api.wait()
    with read_scope() as session:
        (job_id,) = session.scalars(select(OutboxMessage.subject_id))
    workers.start(LIGHT, DFAD_REPUBLISH_SECONDS="3600")
    assert stored_jobs.wait(job_id, done, 60).status == "succeeded"


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def _wait_for(holds, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def test_sqlite_is_locked_for_longer_than_a_beat(database, workers, stored_jobs, monkeypatch):
    """Guard: busy timeout and patience (`_patiently`), and self-fencing only after its time.

    With a busy timeout of 0 and no patience the attempt breaks on the first write.
    """
    monkeypatch.setenv("DFAD_LEASE_SECONDS", "30")
    get_settings.cache_clear()
    job_id = stored_jobs.submit(**light(2))
    send_due()
    workers.start(LIGHT)
    stored_jobs.wait(job_id, lambda row: row.phase == "distilling", 60)
    connection = sqlite3.connect(get_settings().home / "dfad.sqlite3", isolation_level=None, timeout=30)
    connection.execute("BEGIN IMMEDIATE")
    threading.Event().wait(10)
    connection.execute("ROLLBACK")
    connection.close()
    row = stored_jobs.wait(job_id, done, 60)
    assert (row.status, row.attempt) == ("succeeded", 1)


@pytest.mark.services
def test_the_database_is_down_past_a_lease(short_leases, workers, stored_jobs, monkeypatch):
    """Guard: an attempt whose beats fail fences itself (`self_fence_seconds`), and the reaper runs it again.

    Without self-fencing the runner goes on beside the second attempt; without the reaper it stays running.
    """
    from app.migrate import upgrade

    server = Postgres()
    try:
        monkeypatch.setenv("DFAD_DATABASE_URL", server.url)
        get_settings.cache_clear()
        upgrade()
        job_id = stored_jobs.submit(**light(6))
        send_due()
        worker = workers.start(LIGHT)
        stored_jobs.wait(job_id, lambda row: row.phase == "distilling", 60)
        server.kill()
        _wait_for(lambda: not workers.light_runners(worker), 30)
        time.sleep(1)
        server.start()
        row = stored_jobs.wait(job_id, done, 90)
        assert (row.status, row.attempt) == ("succeeded", 2)
        assert students(job_id) == 1
    finally:
        from app.platform.db import dispose_engine, get_engine

        get_engine().dispose()
        dispose_engine()
        workers.close()
        server.close()


def test_a_cancel_racing_the_end_five_hundred_times(database, stored_jobs):
    """Guard: both moves are one conditional UPDATE each. With a read before the write both would win."""
    from app.jobs import lifecycle
    from app.platform.db import session_scope
    from app.platform.errors import InvalidTransition

    teacher_id = stored_jobs.teacher()
    claims = []
    for _ in range(500):
        job_id = stored_jobs.submit(teacher_id)
        with session_scope() as session:
            claims.append(lifecycle.claim(session, job_id, "w1"))
    start = threading.Barrier(2)

    def cancel_all() -> None:
        for claim in claims:
            start.wait()
            try:
                with session_scope() as session:
                    lifecycle.request_cancel(session, claim.job_id, "local")
            except InvalidTransition:
                pass

    thread = threading.Thread(target=cancel_all)
    thread.start()
    for claim in claims:
        start.wait()
        with session_scope() as session:
            finished = lifecycle.succeed(session, claim, from_json(JobResult, {}))
        if not finished:
            with session_scope() as session:
                lifecycle.cancelled(session, claim)
    thread.join()
    with read_scope() as session:
        ends = select(JobEvent.job_id, func.count()).where(
            JobEvent.type.in_(("job.succeeded", "job.cancelled", "job.failed"))
        )
        counts = dict(session.execute(ends.group_by(JobEvent.job_id)).all())
    late = {claim.job_id for claim in claims} - set(counts)
    assert set(counts.values()) <= {1}
    # A cancel that came after the attempt had given up its turn is the reaper's to finish.
    assert all(stored_jobs.row(job_id).status == "cancelling" for job_id in late)
