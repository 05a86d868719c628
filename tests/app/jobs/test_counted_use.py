"""What tenants used: counted in the transaction of each transition, on SQLite and on PostgreSQL."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from app.access.usage import counts
from app.jobs import lifecycle
from app.models import Job, JobEvent, MonthlyUsage
from app.models.clock import steady_now
from app.platform.db import database_now, read_scope, session_scope
from dfad_core.contract.job_result import JobError, JobResult
from dfad_core.contract.serialization import from_json

RESULT = from_json(JobResult, {})
ERROR = JobError("engine_error", "It failed.")


def used(tenant="local"):
    """The tenant's sums of the only month there is."""
    with read_scope() as session:
        return session.scalars(select(MonthlyUsage).where(MonthlyUsage.tenant_id == tenant)).one()


def age(job_id, seconds, **lease):
    """Let the attempt have begun so many seconds ago."""
    with session_scope() as session:
        now = steady_now(session)
        values = {"attempt_started_at": now - timedelta(seconds=seconds)}
        values |= {name: now + timedelta(seconds=by) for name, by in lease.items()}
        session.execute(update(Job).where(Job.id == job_id).values(**values))


def test_jobs_and_the_seconds_of_every_attempt(jobs):
    job_id = jobs.submit()
    first = jobs.claim(job_id)
    age(job_id, 100)
    assert jobs.do(lifecycle.requeue, first, "the runner died", delay=0.0)
    second = jobs.claim(job_id)
    age(job_id, 10)
    assert jobs.do(lifecycle.succeed, second, RESULT)
    failed = jobs.run()
    age(failed.job_id, 1000)
    assert jobs.do(lifecycle.fail, failed, ERROR)
    found = used()
    assert (found.jobs_submitted, found.jobs_succeeded) == (2, 1)
    assert 1110 <= found.cpu_seconds < 1130
    assert found.cuda_seconds == 0


@pytest.mark.parametrize(("device", "gpu", "kind"), [
    ("auto", False, "cpu"), ("auto", True, "cuda"), ("cpu", True, "cpu"), ("cuda", True, "cuda"),
])  # fmt: skip
def test_by_kind_of_device(jobs, device, gpu, kind):
    job_id = jobs.submit(device=device)
    with session_scope() as session:
        claim = lifecycle.claim(session, job_id, "w", gpu=gpu)
    age(job_id, 50)
    assert jobs.do(lifecycle.cancelled, claim) is False  # nobody asked: nothing ended, nothing counts
    assert used().cpu_seconds == used().cuda_seconds == 0
    assert jobs.do(lifecycle.succeed, claim, RESULT)
    found = {"cpu": used().cpu_seconds, "cuda": used().cuda_seconds}
    assert 50 <= found.pop(kind) < 70
    assert list(found.values()) == [0]


def test_a_lost_attempt_counts_until_its_worker_was_last_heard_of_and_once(jobs):
    lost = jobs.run()
    # Claimed 300 s ago, and heard of for the last time 200 s ago: a lease is 60 s.
    age(lost.job_id, 300, lease_expires_at=-140)
    assert jobs.do(lifecycle.expire_leases) == [lost.job_id]
    assert jobs.do(lifecycle.expire_leases) == []
    assert not jobs.do(lifecycle.succeed, lost, RESULT)  # the worker was alive and comes back too late
    assert 95 <= used().cpu_seconds < 120
    assert used().jobs_succeeded == 0


def test_pauses_and_cancels_count_what_ran_and_nothing_else(jobs):
    claim = jobs.run()
    age(claim.job_id, 30)
    jobs.do(lifecycle.request_pause, claim.job_id, "local")
    assert used().cpu_seconds == 0
    assert jobs.do(lifecycle.paused, claim)
    assert 30 <= used().cpu_seconds < 45
    jobs.do(lifecycle.request_resume, claim.job_id, "local")
    jobs.do(lifecycle.request_pause, claim.job_id, "local")
    jobs.do(lifecycle.request_cancel, claim.job_id, "local")
    assert 30 <= used().cpu_seconds < 45
    assert used().jobs_submitted == 1


def test_it_outlives_the_jobs(jobs):
    claim = jobs.run()
    jobs.do(lifecycle.succeed, claim, RESULT)
    with session_scope() as session:
        session.execute(delete(JobEvent))
        session.execute(delete(Job))
    assert (used().jobs_submitted, used().jobs_succeeded) == (1, 1)


def test_what_is_rolled_back_was_not_counted(jobs):
    claim = jobs.run()

    def fall():
        with session_scope() as session:
            assert lifecycle.succeed(session, claim, RESULT)
            raise KeyError

    with pytest.raises(KeyError):
        fall()
    assert used().jobs_succeeded == 0
    assert jobs.do(lifecycle.succeed, claim, RESULT)
    assert used().jobs_succeeded == 1


def test_months_are_apart(jobs, monkeypatch):
    jobs.submit()
    real = database_now
    monkeypatch.setattr(counts, "database_now", lambda session: real(session) + timedelta(days=32))
    jobs.submit()
    with read_scope() as session:
        rows = session.execute(select(MonthlyUsage.month, MonthlyUsage.jobs_submitted)).all()
    assert sorted(number for _, number in rows) == [1, 1]
    assert len({month for month, _ in rows}) == 2


def test_many_at_once_lose_none_and_wait_for_no_circle(jobs):
    """Each transaction counts for both tenants, in either order, beside the service's own counters."""
    claims = {}
    for tenant in ("a", "b"):
        jobs.tenant = tenant
        claims[tenant] = [jobs.run() for _ in range(12)]
    pairs = [[a, b] for a, b in zip(claims["a"], claims["b"], strict=True)]
    for number, pair in enumerate(pairs):
        if number % 2:
            pair.reverse()

    def end(pair):
        with session_scope() as session:
            return [lifecycle.succeed(session, claim, RESULT) for claim in pair]

    with ThreadPoolExecutor(8) as threads:
        assert all(all(ended) for ended in threads.map(end, pairs))
    for tenant in claims:
        assert (used(tenant).jobs_submitted, used(tenant).jobs_succeeded) == (12, 12)


def test_the_peak_of_stored_bytes_never_falls(jobs):
    for stored in ({"a": 10, "b": 5}, {"b": 7}, {"a": 3}):
        with session_scope() as session:
            counts.measure(session, stored)
    assert (used("a").peak_stored_bytes, used("b").peak_stored_bytes) == (10, 7)


def test_what_is_kept_is_measured_now_and_then(jobs, stored_jobs):
    from app.access.usage.service import measure_stored_bytes

    every = timedelta(minutes=10)
    assert measure_stored_bytes(every)  # nobody keeps anything: there is nothing to write down
    for _ in range(2):  # equal files are kept once
        stored_jobs.teacher(b"PK\x03\x04" + b"x" * 96)
    assert measure_stored_bytes(every)
    assert used().peak_stored_bytes == 100
    stored_jobs.teacher(b"PK\x03\x04" + b"y" * 96)
    assert not measure_stored_bytes(every)
    assert used().peak_stored_bytes == 100
    assert measure_stored_bytes(timedelta())
    assert used().peak_stored_bytes == 200


def test_random_lives_count_each_success_and_each_second_once(jobs):
    """Attempts that end in every way while reapers run beside them: the sums are those of the events."""
    chance = random.Random(1)
    ids = [jobs.submit() for _ in range(6)]
    stop = threading.Event()

    def reap():
        while not stop.is_set():
            jobs.do(lifecycle.expire_leases)

    reaper = threading.Thread(target=reap)
    reaper.start()
    try:
        for job_id in ids * 3:
            jobs.lapse_back_off(job_id)
            claim = jobs.claim(job_id)
            if claim is None:
                continue
            age(job_id, 10)
            if chance.random() < 0.5:
                jobs.lapse(job_id)
            jobs.do(chance.choice([_succeed, _requeue, _fail]), claim)
    finally:
        stop.set()
        reaper.join()
    jobs.do(lifecycle.expire_leases)
    ends = [kind for job_id in ids for kind in jobs.events(job_id)]
    assert used().jobs_succeeded == ends.count("job.succeeded")
    over = sum(ends.count(f"job.{end}") for end in ("succeeded", "failed", "requeued"))
    assert over == ends.count("job.running")
    # A lost one counts up to its last heartbeat, which here lies before its claim.
    assert used().cpu_seconds < over * 10 + 60


def _succeed(session, claim):
    lifecycle.succeed(session, claim, RESULT)


def _fail(session, claim):
    lifecycle.fail(session, claim, ERROR)


def _requeue(session, claim):
    lifecycle.requeue(session, claim, "test", delay=0.0)
