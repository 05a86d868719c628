"""A job that found no space waits, and nothing of it counts."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app.jobs import lifecycle, no_space
from app.models import Job, JobEvent, WorkerBeat
from app.models.clock import steady_now
from app.platform.db import read_scope, session_scope
from app.platform.full import is_full
from app.workers.waiting_for import waiting_jobs


class DiskFull(Exception):
    """As psycopg says it."""

    sqlstate = "53100"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EIO, "x"), False),
        (OperationalError("INSERT", {}, Exception("database or disk is full")), True),
        (OperationalError("INSERT", {}, DiskFull()), True),
        (OperationalError("INSERT", {}, Exception("database is locked")), False),
        (ValueError("disk is full"), False),
    ],
)
def test_what_says_that_no_space_is_left(error: Exception, full: bool) -> None:
    assert is_full(error) is full


def test_it_waits_longer_each_time_and_no_attempt_counts(jobs: Any) -> None:
    pauses = []
    held = jobs.run()
    for _ in range(4):
        assert jobs.do(no_space.put_off, held) == "requeued"
        row = jobs.row(held.job_id)
        assert (row.status, row.attempt, row.waiting_reason) == ("queued", 0, "storage_full")
        with read_scope() as session:
            pauses.append((row.run_after - steady_now(session)).total_seconds())
        jobs.lapse_back_off(held.job_id)
        held = jobs.claim(held.job_id)
        assert held.attempt == 1
        assert jobs.row(held.job_id).waiting_reason is None
    assert pauses == sorted(pauses)
    assert pauses[-1] > 2 * pauses[0] > 0
    assert held.seconds_before == 0.0  # its deadline stood still
    with read_scope() as session:
        warnings = select(JobEvent.data).where(JobEvent.job_id == held.job_id, JobEvent.type == "warning")
        assert {data["code"] for data in session.scalars(warnings)} == {"storage_full"}


def test_the_job_says_what_it_waits_for(jobs: Any) -> None:
    held = jobs.run()
    with session_scope() as session:
        session.add(WorkerBeat(id="w", seen_at=steady_now(session), details={"takes": ["auto"]}))
    jobs.do(no_space.put_off, held)
    with read_scope() as session:
        job = session.get_one(Job, held.job_id)
        assert waiting_jobs(session, [job], {})[job.id].code == "storage"


@pytest.mark.parametrize(
    ("ask", "end"), [(lifecycle.request_cancel, "cancelled"), (lifecycle.request_pause, "paused")]
)
def test_what_the_user_asked_for_goes_before(jobs: Any, ask: Any, end: str) -> None:
    held = jobs.run()
    jobs.do(ask, held.job_id, jobs.tenant)
    assert jobs.do(no_space.put_off, held) == end
    assert jobs.row(held.job_id).status == end


def test_another_attempt_is_left_alone(jobs: Any) -> None:
    held = jobs.run()
    jobs.lapse(held.job_id)
    jobs.do(lifecycle.expire_leases)
    jobs.lapse_back_off(held.job_id)
    assert jobs.claim(held.job_id)
    assert jobs.do(no_space.put_off, held) == "stale"
