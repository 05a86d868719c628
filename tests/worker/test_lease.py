"""Holding a job: renewed while it can be, lost when it must be."""

import time

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from app.jobs import lifecycle
from app.leases import records
from app.models import Job
from app.platform.db import session_scope
from worker.database_service import DatabaseService
from worker.lease import LeaseKeeper


@pytest.fixture
def keeper(database, fast_beats, stored_jobs):
    """A keeper of a claimed job, with fast beats; not yet started."""
    fast_beats(fence=0.4)
    job_id = stored_jobs.submit()
    with session_scope() as session:
        claim = lifecycle.claim(session, job_id, "w1")
    made = LeaseKeeper(claim, DatabaseService())
    made.job_id = job_id
    yield made
    if made.ident is not None:
        made.close()


def soon(holds, seconds=10):
    deadline = time.monotonic() + seconds
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def test_it_renews(keeper, stored_jobs):
    before = stored_jobs.row(keeper.job_id).lease_expires_at
    keeper.start()
    assert soon(lambda: stored_jobs.row(keeper.job_id).lease_expires_at > before)
    assert not keeper.lost.is_set()


def test_it_learns_of_a_cancel(keeper):
    keeper.start()
    with session_scope() as session:
        lifecycle.request_cancel(session, keeper.job_id, "local")
    assert soon(lambda: keeper.stop_reason == "cancel")
    assert not keeper.lost.is_set()


def test_it_notices_that_the_job_is_anothers(keeper):
    with session_scope() as session:
        session.execute(update(Job).where(Job.id == keeper.job_id).values(fence=Job.fence + 1))
    keeper.start()
    assert keeper.lost.wait(10)


def _away(*_args):
    raise OperationalError("UPDATE", {}, Exception("the database is away"))


def test_a_database_that_stays_away_fences_the_attempt(keeper, monkeypatch):
    monkeypatch.setattr(records, "heartbeat", _away)
    keeper.start()
    assert keeper.lost.wait(10)


def test_a_heartbeat_that_fails_for_another_reason_fences_too(keeper, monkeypatch):
    def fail(*_):
        raise RuntimeError("a fault")

    monkeypatch.setattr(records, "heartbeat", fail)
    keeper.start()
    assert keeper.lost.wait(10)


def test_a_database_that_comes_back_does_not(keeper, monkeypatch, fast_beats):
    beats = []

    def rarely(session, claim):
        beats.append(1)
        return lifecycle.heartbeat(session, claim) if len(beats) % 2 == 0 else _away()

    monkeypatch.setattr(records, "heartbeat", rarely)
    fast_beats(fence=5)
    keeper.start()
    assert soon(lambda: len(beats) >= 6)
    assert not keeper.lost.is_set()
