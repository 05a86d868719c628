"""Any order of events on a few jobs, against a model of them: on SQLite and on PostgreSQL.

Workers claim, beat, report, crash, and come back as ghosts after their lease was given to another; users
cancel, pause and resume; the reaper comes by at any time. The model knows which move may succeed.

Tried: with `Job.fence == claim.fence` taken out of `lifecycle._held`, with `sources(target)` taken out of
`_move`, and with the lapsed lease taken out of the reaper's query and guard, each time it failed.
"""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, func, select

from app.jobs import lifecycle
from app.models import Job, JobEvent, OutboxMessage, Teacher
from app.models.job_states import LEASED, MOVES, TERMINAL, Status
from app.platform.db import read_scope, session_scope
from app.platform.errors import InvalidTransition
from app.platform.settings import get_settings
from dfad_core.contract.job_result import JobError, JobResult
from dfad_core.contract.serialization import from_json

ENDS = {"job.succeeded", "job.failed", "job.cancelled"}
ERROR = JobError("engine_error", "it broke")


class Lives(RuleBasedStateMachine):
    """A few jobs, and every attempt that ever held one of them."""

    jobs = None  # set by the test
    submitted = Bundle("submitted")
    claims = Bundle("claims")

    def __init__(self):
        super().__init__()
        self.expected = {}  # id -> status
        self.fences = {}
        with session_scope() as session:
            for model in (JobEvent, OutboxMessage, Job, Teacher):
                session.execute(delete(model))

    # What the model expects of a write by the attempt `claim`.

    def _current(self, claim):
        return self.expected[claim.job_id] in LEASED and self.fences[claim.job_id] == claim.fence

    def _to(self, job_id, status, happened, allowed):
        assert happened == allowed, (self.expected[job_id], status)
        if happened:
            assert status in MOVES[self.expected[job_id]]
            self.expected[job_id] = status

    @rule(target=submitted)
    def submit(self):
        job_id = self.jobs.submit()
        self.expected[job_id], self.fences[job_id] = Status.QUEUED, 0
        return job_id

    @rule(target=claims, job_id=submitted)
    def claim(self, job_id):
        self.jobs.lapse_back_off(job_id)
        taken = self.jobs.claim(job_id, "w")
        self._to(job_id, Status.RUNNING, taken is not None, self.expected[job_id] == Status.QUEUED)
        if taken is None:
            return lifecycle.Claim(job_id, "local", "tch_none", 0, -1, "w", {})  # a worker that made it up
        assert taken.fence == self.fences[job_id] + 1
        self.fences[job_id] = taken.fence
        return taken

    @rule(claim=claims)
    def beat(self, claim):
        found = self.jobs.do(lifecycle.heartbeat, claim)
        assert found.alive == self._current(claim)

    @rule(claim=claims)
    def report(self, claim):
        assert self.jobs.do(lifecycle.update_held, claim, step=1) == self._current(claim)

    @rule(claim=claims)
    def succeed(self, claim):
        allowed = self._current(claim) and self.expected[claim.job_id] != Status.CANCELLING
        self._to(
            claim.job_id,
            Status.SUCCEEDED,
            self.jobs.do(lifecycle.succeed, claim, from_json(JobResult, {})),
            allowed,
        )

    @rule(claim=claims)
    def fail(self, claim):
        allowed = self._current(claim) and self.expected[claim.job_id] != Status.CANCELLING
        self._to(claim.job_id, Status.FAILED, self.jobs.do(lifecycle.fail, claim, ERROR), allowed)

    @rule(claim=claims)
    def obey_cancel(self, claim):
        allowed = self._current(claim) and self.expected[claim.job_id] == Status.CANCELLING
        self._to(claim.job_id, Status.CANCELLED, self.jobs.do(lifecycle.cancelled, claim), allowed)

    @rule(claim=claims)
    def obey_pause(self, claim):
        allowed = self._current(claim) and self.expected[claim.job_id] == Status.PAUSING
        self._to(claim.job_id, Status.PAUSED, self.jobs.do(lifecycle.paused, claim), allowed)

    @rule(claim=claims, counts=st.booleans())
    def give_back(self, claim, counts):
        allowed = self._current(claim) and self.expected[claim.job_id] == Status.RUNNING
        done = self.jobs.do(lifecycle.requeue, claim, "shut down", delay=0, counts=counts)
        self._to(claim.job_id, Status.QUEUED, done, allowed)

    @rule(claim=consumes(claims))
    def crash(self, claim):
        """The supervisor tells of a runner that died."""
        before, current = self.expected[claim.job_id], self._current(claim)
        told = self.jobs.do(lifecycle.give_up_attempt, claim, "crashed", ERROR)
        if not current or before == Status.CANCELLING:
            assert told == "stale"
        elif before == Status.PAUSING:
            assert told == "paused"
            self._to(claim.job_id, Status.PAUSED, True, True)
        else:
            last = claim.attempt >= get_settings().max_attempts
            assert told == ("failed" if last else "requeued")
            self._to(claim.job_id, Status.FAILED if last else Status.QUEUED, True, True)

    @rule(job_id=submitted)
    def lapse(self, job_id):
        """Its worker is not heard of for longer than its lease; the reaper comes by."""
        before = self.expected[job_id]
        row = self.jobs.row(job_id)
        if before not in LEASED:
            return
        self.jobs.lapse(job_id)
        assert self.jobs.do(lifecycle.expire_leases) == [job_id]
        last = row.attempt >= get_settings().max_attempts
        after = {Status.CANCELLING: Status.CANCELLED, Status.PAUSING: Status.PAUSED}.get(
            before, Status.FAILED if last else Status.QUEUED
        )
        self._to(job_id, after, True, True)

    @rule()
    def reap(self):
        """Nothing has lapsed: it must leave everything alone."""
        assert self.jobs.do(lifecycle.expire_leases) == []

    @rule(job_id=submitted, asked=st.sampled_from(["cancel", "pause", "resume"]))
    def ask(self, job_id, asked):
        before = self.expected[job_id]
        outcomes = {
            "cancel": {
                Status.QUEUED: Status.CANCELLED, Status.PAUSED: Status.CANCELLED,
                Status.RUNNING: Status.CANCELLING, Status.PAUSING: Status.CANCELLING,
                Status.CANCELLING: Status.CANCELLING, Status.CANCELLED: Status.CANCELLED,
            },
            "pause": {
                Status.QUEUED: Status.PAUSED, Status.RUNNING: Status.PAUSING,
                Status.PAUSING: Status.PAUSING, Status.PAUSED: Status.PAUSED,
            },
            "resume": {
                Status.PAUSED: Status.QUEUED, Status.QUEUED: Status.QUEUED, Status.RUNNING: Status.RUNNING,
            },
        }[asked]  # fmt: skip
        move = getattr(lifecycle, f"request_{asked}")
        if before not in outcomes:
            with pytest.raises(InvalidTransition):
                self.jobs.do(move, job_id, "local")
            return
        self.jobs.do(move, job_id, "local")
        self.expected[job_id] = outcomes[before]

    @invariant()
    def rows_are_as_expected(self):
        with read_scope() as session:
            rows = {job.id: job for job in session.scalars(select(Job))}
            ends = dict(
                session.execute(
                    select(JobEvent.job_id, func.count())
                    .where(JobEvent.type.in_(ENDS))
                    .group_by(JobEvent.job_id)
                ).all()
            )
        assert {job_id: job.status for job_id, job in rows.items()} == self.expected
        for job_id, job in rows.items():
            assert ends.get(job_id, 0) == (job.status in TERMINAL)
            assert (job.finished_at is not None) == (job.status in TERMINAL)
            assert (job.lease_owner is not None) == (job.status in LEASED)
            assert (job.paused_at is not None) == (job.status == Status.PAUSED)
            assert 0 <= job.attempt <= get_settings().max_attempts
            assert job.fence == self.fences[job_id]
            self.jobs.events(job_id)  # numbered without a gap


@pytest.mark.timeout(180)
def test_no_order_of_events_breaks_a_job(jobs):
    machine = type("Lives", (Lives,), {"jobs": jobs})
    quiet = [HealthCheck.too_slow, HealthCheck.filter_too_much]
    how = settings(max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=quiet)
    run_state_machine_as_test(machine, settings=how)
