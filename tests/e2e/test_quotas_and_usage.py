"""Real servers and workers: a quota that changes reaches all of them, and what is used is counted once."""

import signal
import time

import httpx
import pytest
from sqlalchemy import select

from app.messaging.dispatch import send_due
from app.models import MonthlyUsage
from app.platform.db import read_scope
from app.platform.settings import get_settings
from testing.processes import wait_until
from testing.running_service import end, start

LIGHT = "testing.light_worker"
A_WHILE = 2.0


@pytest.fixture
def serve(home):
    """Starts a server over the test's database; its address and its processes."""
    started = []

    def serve(**settings):
        url, processes = start(home, "app", **settings)
        started.append(processes)
        return url, processes

    yield serve
    for processes in started:
        end([process for process in processes if process.poll() is None])


def used():
    with read_scope() as session:
        return session.scalars(select(MonthlyUsage).where(MonthlyUsage.tenant_id == "local")).one()


def test_a_quota_reaches_servers_and_workers_while_they_run(database, home, serve, workers, stored_jobs):
    (first, _), (second, _) = serve(), serve(DFAD_SERVER_PROCESSES="2")
    assert httpx.put(f"{first}/quotas/local", json={"running_jobs": 0}).status_code == 200
    workers.start(LIGHT)
    job_id = stored_jobs.submit()
    send_due()
    assert wait_until(lambda: httpx.get(f"{first}/readyz").status_code == 200, 60)
    time.sleep(A_WHILE)
    assert stored_jobs.row(job_id).status == "queued"
    assert httpx.put(f"{second}/quotas/*", json={"running_jobs": 5}).status_code == 200
    time.sleep(A_WHILE)
    assert stored_jobs.row(job_id).status == "queued"  # its own goes before everybody's
    assert httpx.delete(f"{second}/quotas/local").status_code == 204
    stored_jobs.wait(job_id, lambda row: row.status == "succeeded", 60)

    def answers(limit):
        asked = [httpx.get(f"{second}/jobs", headers={"Connection": "close"}) for _ in range(8)]
        return {answer.status_code for answer in asked} == {limit}

    assert answers(200)
    assert httpx.put(f"{first}/quotas/local", json={"requests_per_minute": 1}).status_code == 200
    assert wait_until(lambda: answers(429), 30), "each of its processes has heard of it"
    assert httpx.get(f"{first}/jobs").status_code in (200, 429)
    # The first one's own requests are past that limit, too: only a change from elsewhere could lift it.
    from app.access.usage import quota_store
    from app.platform.db import session_scope
    from app.platform.settings import Quota

    with session_scope() as session:
        quota_store.put(session, "local", Quota(requests_per_minute=10**6))
    assert wait_until(lambda: answers(200), 30)


def test_kills_neither_lose_nor_double_what_was_counted(database, workers, stored_jobs):
    job_ids = [stored_jobs.submit(metadata={"linger": "1"}) for _ in range(2)]
    send_due()
    begun = time.monotonic()
    first = workers.start(LIGHT)
    row = stored_jobs.wait(job_ids[0], lambda row: row.phase == "distilling", 60)
    time.sleep(1)  # a heartbeat or two
    workers.kill(first)
    workers.start(LIGHT)
    for job_id in job_ids:
        stored_jobs.wait(job_id, lambda row: row.status == "succeeded", 90)
    took = time.monotonic() - begun
    found = used()
    assert (found.jobs_submitted, found.jobs_succeeded) == (2, 2)
    assert row.attempt_device in ("cpu", "cuda")
    # Five phases of a second for each job, of which at least two were done twice.
    assert 11 < found.cpu_seconds + found.cuda_seconds < took


def test_a_server_that_is_told_to_stop_loses_no_request_and_a_killed_one_those_of_seconds(
    database, home, serve
):
    url, (server,) = serve()
    for _ in range(20):
        assert httpx.get(f"{url}/jobs").status_code == 200
    server.send_signal(signal.SIGTERM)
    server.wait(timeout=30)
    assert used().requests == 20
    url, (server,) = serve()
    for _ in range(20):
        assert httpx.get(f"{url}/jobs").status_code == 200
    assert wait_until(lambda: used().requests == 40, 30)
    httpx.get(f"{url}/jobs")
    server.kill()
    server.wait()
    assert used().requests in (40, 41)


@pytest.mark.services
def test_a_quota_reaches_a_worker_on_postgres(postgres, workers, stored_jobs, home, monkeypatch):
    monkeypatch.setenv("DFAD_DATABASE_URL", postgres)
    get_settings.cache_clear()
    from app.access.usage import quota_store
    from app.platform.db import session_scope
    from app.platform.settings import Quota

    with session_scope() as session:
        quota_store.put(session, "local", Quota(running_jobs=1))
    home.mkdir(exist_ok=True)
    jobs = [stored_jobs.submit(metadata={"linger": "2"}) for _ in range(2)]
    send_due()
    for _ in range(2):
        workers.start(LIGHT)
    stored_jobs.wait(jobs[0], lambda row: row.status == "running", 60)
    time.sleep(A_WHILE)
    assert {stored_jobs.row(job_id).status for job_id in jobs} == {"running", "queued"}
    with session_scope() as session:
        quota_store.remove(session, "local")
    assert wait_until(lambda: [stored_jobs.row(j).status for j in jobs] == ["running"] * 2, 30)
    for job_id in jobs:
        stored_jobs.wait(job_id, lambda row: row.status == "succeeded", 60)
    assert used().jobs_succeeded == 2
