"""Pausing and resuming, on SQLite and on PostgreSQL."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.jobs import lifecycle
from app.models import Job, OutboxMessage
from app.platform.db import database_now, read_scope, session_scope
from app.platform.errors import InvalidTransition, NotFound
from dfad_core.contract.job_result import JobError, JobResult
from dfad_core.contract.serialization import from_json


def paused(jobs):
    claim = jobs.run()
    jobs.do(lifecycle.request_pause, claim.job_id, jobs.tenant)
    assert jobs.do(lifecycle.paused, claim)
    return claim


def test_pause_is_asked_for_then_obeyed_and_gives_the_attempt_back(jobs):
    claim = jobs.run()
    for _ in range(2):
        job = jobs.do(lifecycle.request_pause, claim.job_id, jobs.tenant)
        assert (job.status, job.stop_requested) == ("pausing", "pause")
    assert jobs.do(lifecycle.heartbeat, claim) == lifecycle.Beat(alive=True, stop="pause")
    assert jobs.do(lifecycle.paused, claim)
    row = jobs.row(claim.job_id)
    assert (row.status, row.attempt, row.lease_owner, row.stop_requested) == ("paused", 0, None, None)
    assert row.finished_at is None
    assert jobs.do(lifecycle.request_pause, claim.job_id, jobs.tenant).status == "paused"
    assert jobs.events(claim.job_id)[-2:] == ["job.pausing", "job.paused"]


def test_a_resumed_job_is_announced_and_claimed_again(jobs):
    claim = paused(jobs)
    assert jobs.claim(claim.job_id) is None
    for _ in range(2):
        assert jobs.do(lifecycle.request_resume, claim.job_id, jobs.tenant).status == "queued"
    with read_scope() as session:
        owed = session.scalars(
            select(OutboxMessage.subject_id).where(OutboxMessage.subject_id == claim.job_id)
        )
        assert len(list(owed)) == 2  # as submitted, and as resumed
    again = jobs.claim(claim.job_id)
    assert (again.attempt, again.fence) == (1, 2)
    assert jobs.do(lifecycle.request_resume, claim.job_id, jobs.tenant).status == "running"


def test_the_deadline_stands_still_meanwhile(jobs):
    claim = paused(jobs)
    with session_scope() as session:
        hour = database_now(session) - timedelta(hours=1)
        moved = {"clock_started_at": hour - timedelta(seconds=30), "paused_at": hour}
        session.execute(update(Job).where(Job.id == claim.job_id).values(**moved))
    jobs.do(lifecycle.request_resume, claim.job_id, jobs.tenant)
    assert 30 <= jobs.claim(claim.job_id).seconds_before < 60


def test_a_queued_job_can_be_held(jobs):
    job_id = jobs.submit()
    assert jobs.do(lifecycle.request_pause, job_id, jobs.tenant).status == "paused"
    assert jobs.claim(job_id) is None
    jobs.do(lifecycle.request_resume, job_id, jobs.tenant)
    assert jobs.claim(job_id).seconds_before >= 0


def test_the_reaper_pauses_what_was_to_be_paused(jobs):
    claim = jobs.run()
    jobs.do(lifecycle.request_pause, claim.job_id, jobs.tenant)
    jobs.lapse(claim.job_id)
    assert jobs.do(lifecycle.expire_leases) == [claim.job_id]
    assert jobs.row(claim.job_id).status == "paused"
    assert not jobs.do(lifecycle.paused, claim)


def test_a_crash_while_pausing_pauses(jobs):
    claim = jobs.run()
    jobs.do(lifecycle.request_pause, claim.job_id, jobs.tenant)
    error = JobError("runner_crashed", "it died")
    assert jobs.do(lifecycle.give_up_attempt, claim, "died", error) == "paused"


def test_a_result_that_was_on_its_way_counts(jobs):
    claim = jobs.run()
    jobs.do(lifecycle.request_pause, claim.job_id, jobs.tenant)
    assert jobs.do(lifecycle.succeed, claim, from_json(JobResult, {}))
    assert jobs.row(claim.job_id).status == "succeeded"


def test_a_cancel_goes_before_a_pause(jobs):
    claim = jobs.run()
    jobs.do(lifecycle.request_pause, claim.job_id, jobs.tenant)
    assert jobs.do(lifecycle.request_cancel, claim.job_id, jobs.tenant).status == "cancelling"
    assert not jobs.do(lifecycle.paused, claim)
    assert jobs.do(lifecycle.cancelled, claim)
    held = paused(jobs)
    assert jobs.do(lifecycle.request_cancel, held.job_id, jobs.tenant).status == "cancelled"
    assert jobs.row(held.job_id).paused_at is None


def test_what_cannot_be(jobs):
    claim = jobs.run()
    jobs.do(lifecycle.request_pause, claim.job_id, jobs.tenant)
    with pytest.raises(InvalidTransition, match="pausing"):
        jobs.do(lifecycle.request_resume, claim.job_id, jobs.tenant)
    assert jobs.do(lifecycle.succeed, claim, from_json(JobResult, {}))
    for move in (lifecycle.request_pause, lifecycle.request_resume):
        with pytest.raises(InvalidTransition, match="succeeded"):
            jobs.do(move, claim.job_id, jobs.tenant)
        with pytest.raises(NotFound):
            jobs.do(move, claim.job_id, "another tenant")
