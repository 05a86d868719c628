"""Every guard of a job's life, on SQLite and on PostgreSQL."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.jobs import lifecycle
from app.models import Job
from app.models.job_states import TERMINAL, Status
from app.platform.errors import InvalidTransition, NotFound
from dfad_core.contract.job_result import JobError, JobResult
from dfad_core.contract.serialization import from_json, to_json

ERROR = JobError("engine_error", "it broke")


def result(compression):
    return from_json(JobResult, {"compression": compression})


def test_submit_queues_with_event_and_message(jobs):
    job_id = jobs.submit()
    row = jobs.row(job_id)
    assert (row.status, row.attempt, row.fence) == ("queued", 0, 0)
    assert row.created_at.tzinfo is not None
    assert jobs.events(job_id) == ["job.queued"]


def test_claim_starts_one_attempt(jobs):
    job_id = jobs.submit(resolved_spec={"seed": 3})
    claim = jobs.claim(job_id, "w1")
    assert claim is not None
    assert (claim.attempt, claim.fence, claim.owner, claim.resolved_spec) == (1, 1, "w1", {"seed": 3})
    row = jobs.row(job_id)
    assert (row.status, row.phase, row.lease_owner) == ("running", "loading", "w1")
    assert row.started_at is not None
    assert row.lease_expires_at > row.started_at
    assert jobs.claim(job_id, "w2") is None
    assert jobs.events(job_id) == ["job.queued", "job.running"]


def test_claim_of_nothing_and_of_the_future(jobs):
    assert jobs.claim("job_none") is None
    claim = jobs.run()
    assert jobs.do(lifecycle.requeue, claim, "transient", delay=3600)
    assert jobs.claim(claim.job_id) is None


def test_one_of_many_claimants_wins(jobs):
    job_id, start = jobs.submit(), threading.Barrier(6)

    def take(number: int) -> object:
        start.wait()
        return jobs.claim(job_id, f"w{number}")

    with ThreadPoolExecutor(6) as pool:
        taken = [c for c in pool.map(take, range(6)) if c is not None]
    assert len(taken) == 1
    assert jobs.row(job_id).attempt == 1


def test_heartbeat_renews_the_lease_and_tells_of_a_cancel(jobs):
    claim = jobs.run()
    before = jobs.row(claim.job_id).lease_expires_at
    assert jobs.do(lifecycle.heartbeat, claim) == lifecycle.Beat(alive=True)
    assert jobs.row(claim.job_id).lease_expires_at >= before
    jobs.do(lifecycle.request_cancel, claim.job_id, jobs.tenant)
    assert jobs.do(lifecycle.heartbeat, claim) == lifecycle.Beat(alive=True, stop="cancel")


def test_a_lapsed_lease_is_not_renewed(jobs):
    claim = jobs.run()
    jobs.lapse(claim.job_id)
    assert jobs.do(lifecycle.heartbeat, claim) == lifecycle.Beat(alive=False)


def test_success_and_failure_end_the_lease(jobs):
    won, lost = jobs.run(), jobs.run()
    assert jobs.do(lifecycle.succeed, won, result(4))
    assert jobs.do(lifecycle.fail, lost, ERROR)
    for claim, status in ((won, "succeeded"), (lost, "failed")):
        row = jobs.row(claim.job_id)
        assert (row.status, row.phase, row.lease_owner, row.lease_expires_at) == (status, None, None, None)
        assert row.finished_at is not None
        assert jobs.events(claim.job_id)[-1] == f"job.{status}"
    assert jobs.row(won.job_id).result["compression"] == 4
    assert jobs.row(lost.job_id).error == to_json(ERROR)


def test_nothing_follows_an_end(jobs):
    claim = jobs.run()
    assert jobs.do(lifecycle.succeed, claim, from_json(JobResult, {}))
    assert not jobs.do(lifecycle.succeed, claim, result(5))
    assert not jobs.do(lifecycle.fail, claim, ERROR)
    assert not jobs.do(lifecycle.cancelled, claim)
    assert not jobs.do(lifecycle.requeue, claim, "late", delay=0)
    assert not jobs.do(lifecycle.update_held, claim, step=9)
    assert jobs.do(lifecycle.heartbeat, claim) == lifecycle.Beat(alive=False)
    assert jobs.claim(claim.job_id) is None
    assert jobs.events(claim.job_id) == ["job.queued", "job.running", "job.succeeded"]
    with pytest.raises(InvalidTransition) as caught:
        jobs.do(lifecycle.request_cancel, claim.job_id, jobs.tenant)
    assert "succeeded" in caught.value.detail


def test_a_stale_fence_changes_nothing(jobs):
    """A worker that slept past its lease finds its job with another attempt."""
    old = jobs.run("w1")
    jobs.lapse(old.job_id)
    assert jobs.do(lifecycle.expire_leases) == [old.job_id]
    jobs.lapse(old.job_id)
    new = jobs.claim(old.job_id, "w1")
    assert (new.attempt, new.fence) == (2, 2)
    before = jobs.events(old.job_id)
    assert jobs.do(lifecycle.heartbeat, old) == lifecycle.Beat(alive=False)
    assert not jobs.do(lifecycle.update_held, old, step=99)
    assert not jobs.do(lifecycle.succeed, old, result(5))
    assert not jobs.do(lifecycle.fail, old, ERROR)
    assert not jobs.do(lifecycle.cancelled, old)
    assert not jobs.do(lifecycle.requeue, old, "stale", delay=0)
    assert jobs.do(lifecycle.give_up_attempt, old, "stale", ERROR) == "stale"
    row = jobs.row(old.job_id)
    assert (row.status, row.step, row.result, row.fence) == ("running", 0, None, 2)
    assert jobs.events(old.job_id) == before
    assert jobs.do(lifecycle.update_held, new, step=5)


def test_requeue_comes_back_with_its_message(jobs):
    claim = jobs.run()
    assert jobs.do(lifecycle.requeue, claim, "transient", delay=0)
    row = jobs.row(claim.job_id)
    assert (row.status, row.attempt, row.phase, row.lease_owner) == ("queued", 1, None, None)
    again = jobs.claim(claim.job_id, "w2")
    assert (again.attempt, again.fence) == (2, 2)
    assert jobs.row(claim.job_id).started_at is not None
    assert jobs.events(claim.job_id) == ["job.queued", "job.running", "job.requeued", "job.running"]


def test_a_shutdown_does_not_use_up_an_attempt(jobs):
    claim = jobs.run()
    assert jobs.do(lifecycle.requeue, claim, "its worker shut down", delay=0, counts=False)
    again = jobs.claim(claim.job_id)
    assert (again.attempt, again.fence) == (1, 2)


def test_giving_up_fails_at_the_last_attempt(jobs):
    job_id = jobs.submit()
    ends = []
    for _ in range(3):
        ends.append(jobs.do(lifecycle.give_up_attempt, jobs.claim(job_id), "the runner died", ERROR))
        if ends[-1] == "requeued":
            jobs.lapse(job_id)
    assert ends == ["requeued", "requeued", "failed"]
    assert jobs.row(job_id).error == to_json(ERROR)


def test_back_off_doubles_with_jitter(home):
    for attempt, base in ((1, 10), (2, 20), (3, 40)):
        delays = {lifecycle.back_off(attempt) for _ in range(50)}
        assert len(delays) > 1
        assert all(0.75 * base <= d <= 1.25 * base for d in delays)


def test_reaper_leaves_living_leases_alone(jobs):
    claim = jobs.run()
    assert jobs.do(lifecycle.expire_leases) == []
    assert jobs.row(claim.job_id).status == "running"


def test_reaper_fails_the_last_attempt(jobs):
    job_id = jobs.submit()
    for attempt in (1, 2, 3):
        assert jobs.claim(job_id).attempt == attempt
        jobs.lapse(job_id)
        assert jobs.do(lifecycle.expire_leases) == [job_id]
        if attempt < 3:
            jobs.lapse(job_id)
    row = jobs.row(job_id)
    assert (row.status, row.error["code"]) == ("failed", "worker_lost")
    assert jobs.events(job_id)[-1] == "job.failed"


def test_reaper_finishes_a_cancel_whose_worker_is_gone(jobs):
    claim = jobs.run()
    jobs.do(lifecycle.request_cancel, claim.job_id, jobs.tenant)
    jobs.lapse(claim.job_id)
    assert jobs.do(lifecycle.expire_leases) == [claim.job_id]
    assert jobs.row(claim.job_id).status == "cancelled"


def test_two_reapers_take_each_job_once(jobs):
    claims = [jobs.run() for _ in range(5)]
    for claim in claims:
        jobs.lapse(claim.job_id)
    with ThreadPoolExecutor(2) as pool:
        rounds = list(pool.map(lambda _: jobs.do(lifecycle.expire_leases), range(2)))
    jobs_seen = sorted(rounds[0] + rounds[1] + jobs.do(lifecycle.expire_leases))
    assert jobs_seen == sorted(c.job_id for c in claims)
    assert all(jobs.events(c.job_id).count("job.requeued") == 1 for c in claims)


def test_cancel_of_a_queued_job_is_immediate_and_idempotent(jobs):
    job_id = jobs.submit()
    for _ in range(2):
        assert jobs.do(lifecycle.request_cancel, job_id, jobs.tenant).status == "cancelled"
    assert jobs.events(job_id) == ["job.queued", "job.cancelled"]
    assert jobs.claim(job_id) is None


def test_cancel_of_a_running_job_is_asked_for_then_obeyed(jobs):
    claim = jobs.run()
    for _ in range(2):
        job: Job = jobs.do(lifecycle.request_cancel, claim.job_id, jobs.tenant)
        assert (job.status, job.stop_requested, job.fence) == ("cancelling", "cancel", claim.fence)
    assert not jobs.do(lifecycle.succeed, claim, from_json(JobResult, {}))
    assert not jobs.do(lifecycle.fail, claim, ERROR)
    assert jobs.do(lifecycle.cancelled, claim, result(6))
    row = jobs.row(claim.job_id)
    assert (row.status, row.result["compression"], row.stop_requested) == ("cancelled", 6, None)
    assert jobs.events(claim.job_id)[-2:] == ["job.cancelling", "job.cancelled"]


def test_cancel_of_anothers_job_finds_nothing(jobs):
    job_id = jobs.submit()
    with pytest.raises(NotFound):
        jobs.do(lifecycle.request_cancel, job_id, "another tenant")
    with pytest.raises(NotFound):
        jobs.do(lifecycle.request_cancel, "job_none", jobs.tenant)
    assert jobs.row(job_id).status == "queued"


@pytest.mark.parametrize("round_", range(5))
def test_a_cancel_racing_the_finish_ends_once(jobs, round_):
    claim, start = jobs.run(), threading.Barrier(2)

    def finish() -> bool:
        start.wait()
        return bool(jobs.do(lifecycle.succeed, claim, from_json(JobResult, {})))

    def cancel() -> bool:
        start.wait()
        try:
            jobs.do(lifecycle.request_cancel, claim.job_id, jobs.tenant)
        except InvalidTransition:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        done, asked = pool.submit(finish), pool.submit(cancel)
        finished, accepted = done.result(), asked.result()
    assert finished != accepted
    if accepted:
        assert jobs.do(lifecycle.cancelled, claim)
    ends = [e for e in jobs.events(claim.job_id) if e.removeprefix("job.") in TERMINAL]
    assert ends == ["job.succeeded" if finished else "job.cancelled"]
    assert Status(jobs.row(claim.job_id).status) in TERMINAL


def test_events_of_many_writers_have_no_gaps(jobs):
    job_id = jobs.submit()

    def write(number: int) -> object:
        return jobs.do(lifecycle.append_event, job_id, "warning", {"number": number})

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(write, range(20))) == list(range(2, 22))
    assert len(jobs.events(job_id)) == 21


def test_a_move_that_rolls_back_leaves_no_event(jobs):
    claim = jobs.run()

    def torn(session: object) -> None:
        lifecycle.succeed(session, claim, from_json(JobResult, {}))
        raise RuntimeError("the power went")

    with pytest.raises(RuntimeError):
        jobs.do(torn)
    assert jobs.row(claim.job_id).status == "running"
    assert jobs.events(claim.job_id) == ["job.queued", "job.running"]
