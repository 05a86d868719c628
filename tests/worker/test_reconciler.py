"""Rounds of the reconciler: lost workers and lost messages come to nothing."""

import json
from datetime import timedelta

import pytest
from sqlalchemy import select, update
from sqlalchemy.exc import OperationalError

from app.jobs import lifecycle
from app.messaging.dispatch import send_due
from app.models import Job, OutboxMessage
from app.platform.db import database_now, read_scope, session_scope
from app.platform.settings import Settings, get_settings
from worker.reconciler import Reconciler, reconcile


def sent():
    """Takes the messages out of the embedded broker: (task, argument)."""
    found = []
    for file in (get_settings().broker_folder / "queue").glob("*.msg"):
        headers = json.loads(file.read_text())["headers"]
        found.append((headers["task"], headers["argsrepr"].strip("[]'")))
        file.unlink()
    return sorted(found)


def age(table, row_id, **columns):
    """Move times of a row into the past by seconds."""
    with session_scope() as session:
        now = database_now(session)
        past = {name: now - timedelta(seconds=seconds) for name, seconds in columns.items()}
        session.execute(update(table).where(table.id == row_id).values(**past))


def test_it_sends_what_the_outbox_owes(database, stored_jobs):
    job_id = stored_jobs.submit()
    reconcile()
    assert ("dfad.run_job", job_id) in sent()
    with read_scope() as session:
        assert list(session.scalars(select(OutboxMessage))) == []
    assert stored_jobs.row(job_id).announced_at is not None


def test_a_lost_message_is_sent_again_after_a_while(database, stored_jobs):
    job_id = stored_jobs.submit()
    send_due()
    sent()
    reconcile()
    assert sent() == []
    age(Job, job_id, created_at=100, announced_at=61)
    reconcile()
    assert sent() == [("dfad.run_job", job_id)]
    reconcile()
    assert sent() == []


@pytest.mark.parametrize("back_off", [0, 3600])
def test_a_lapsed_lease_brings_the_job_back(database, stored_jobs, monkeypatch, caplog, back_off):
    monkeypatch.setenv("DFAD_RETRY_BACKOFF_SECONDS", str(back_off))
    get_settings.cache_clear()
    job_id = stored_jobs.submit()
    send_due()
    sent()
    with session_scope() as session:
        assert lifecycle.claim(session, job_id, "gone")
    age(Job, job_id, lease_expires_at=1)
    reconcile()
    (line,) = [record for record in caplog.records if "expired" in record.getMessage()]
    assert line.job_id == job_id
    row = stored_jobs.row(job_id)
    assert (row.status, row.attempt) == ("queued", 1)
    assert sent() == ([] if back_off else [("dfad.run_job", job_id)])


def test_a_round_that_fails_does_not_end_the_rounds(database, monkeypatch):
    monkeypatch.setattr(Settings, "reaper_seconds", 0.05)
    rounds = []

    def flaky():
        rounds.append(1)
        if len(rounds) < 3:
            raise RuntimeError("a fault")
        thread.close()

    monkeypatch.setattr("worker.reconciler.reconcile", flaky)
    thread = Reconciler()
    thread.start()
    thread.join(20)
    assert len(rounds) == 3


def test_a_round_without_the_database_is_made_up_for_soon(database, monkeypatch):
    """Not after the whole pause between two rounds, in which nobody would look for lost jobs."""
    monkeypatch.setattr(Settings, "reaper_seconds", 3600.0)
    monkeypatch.setattr("worker.reconciler.AWAY_SECONDS", 0.05)
    rounds = []

    def away_at_first(**_):
        rounds.append(1)
        if len(rounds) < 3:
            raise OperationalError("SELECT 1", {}, Exception("the server closed the connection"))
        thread.close()

    monkeypatch.setattr("worker.reconciler.reconcile", away_at_first)
    thread = Reconciler()
    thread.start()
    thread.join(20)
    assert len(rounds) == 3
