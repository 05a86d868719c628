"""Guards: what is counted stays counted, once, on both databases, whatever becomes of the rows."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, update

from app.jobs import lifecycle
from app.models import Job, JobEvent, WorkerBeat
from app.platform.db import database_now, read_scope, session_scope
from app.telemetry import counters
from app.telemetry.jobs import JobCollector, Kept
from app.telemetry.workers import WorkerCollector


def told(*collectors: Any) -> dict[tuple[str, ...], float]:
    """Values by name and labels."""
    samples = [s for c in collectors or (JobCollector(),) for family in c.collect() for s in family.samples]
    return {(s.name, *s.labels.values()): s.value for s in samples}


def test_what_is_rolled_back_was_not_counted(each_database: str) -> None:
    def fall() -> None:
        with session_scope() as session:
            counters.count(session, "dfad_leases_lost")
            raise KeyError

    with pytest.raises(KeyError):
        fall()
    with session_scope() as session:
        counters.count(session, "dfad_leases_lost")
        counters.count(session, "dfad_leases_lost", by=2)
        counters.count(session, "dfad_jobs_failed", "Not a code, but \n a text")
    found = told()
    assert found["dfad_leases_lost_total",] == 3
    assert found["dfad_jobs_failed_total", "other"] == 1
    assert found["dfad_jobs_failed_total", "worker_lost"] == 0


def test_many_at_once_lose_none(each_database: str) -> None:
    def add(names: list[str]) -> None:
        for _ in range(20):
            with session_scope() as session:
                for name in names:
                    counters.count(session, name)

    names = ["dfad_leases_lost", "dfad_checkpoints"]
    threads = [threading.Thread(target=add, args=(order,)) for order in (names, names[::-1]) * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = told()
    assert found["dfad_leases_lost_total",] == found["dfad_checkpoints_total",] == 80


def test_buckets_are_cumulative(database: str) -> None:
    with session_scope() as session:
        for seconds in (0.5, 1.0, 50.0, 1e6):
            counters.observe(session, "dfad_job_duration_seconds", seconds, "succeeded")
    found = told()
    name = "dfad_job_duration_seconds"
    buckets = {le: found[f"{name}_bucket", "succeeded", le] for le in ("1.0", "15.0", "60.0", "+Inf")}
    assert buckets == {"1.0": 2, "15.0": 2, "60.0": 3, "+Inf": 4}
    assert found[f"{name}_count", "succeeded"] == 4
    assert found[f"{name}_sum", "succeeded"] == pytest.approx(1000051.5)


def test_lost_leases_outlive_their_jobs(each_database: str, stored_jobs: Any) -> None:
    job_id = stored_jobs.submit()
    with session_scope() as session:
        session.execute(update(Job).values(device="cpu"))
    for attempt in range(3):
        with session_scope() as session:
            past = database_now(session) - timedelta(seconds=1)  # the steady clock may be a little behind
            session.execute(update(Job).values(run_after=past))
        with session_scope() as session:
            assert lifecycle.claim(session, job_id, f"w{attempt}")
        assert told()["dfad_device_running_jobs", "cpu"] == 1
        with session_scope() as session:
            session.execute(update(Job).values(lease_expires_at=database_now(session) - timedelta(seconds=1)))
        with session_scope() as session:
            assert lifecycle.expire_leases(session) == [job_id]
            assert lifecycle.expire_leases(session) == []
    with session_scope() as session:
        session.execute(delete(JobEvent))
        session.execute(delete(Job))
    found = told()
    assert found["dfad_leases_lost_total",] == 3
    assert found["dfad_jobs_requeued_total", "lease_expired"] == 2
    assert found["dfad_jobs_failed_total", "worker_lost"] == found["dfad_jobs_ended_total", "failed"] == 1
    assert found["dfad_job_wait_seconds_count",] == 1
    assert found["dfad_jobs", "failed"] == 0


def test_the_queue_by_device_and_of_every_tenant(database: str, stored_jobs: Any) -> None:
    from app.models.tenancy import acting_for

    first, second = stored_jobs.submit(), stored_jobs.submit()
    with session_scope() as session:
        later = database_now(session) + timedelta(minutes=5)
        session.execute(update(Job).where(Job.id == second).values(run_after=later))
        session.execute(update(Job).where(Job.id == first).values(tenant_id="acme", device="cpu"))
    with acting_for("local"):  # as the request of the operator does
        found = told()
    assert found["dfad_device_queue_depth", "cpu"] == 1
    assert found["dfad_device_queue_depth", "auto"] == 0, "it may not start yet"
    assert found["dfad_jobs", "queued"] == 2
    assert found["dfad_outbox_messages",] == 2
    assert found["dfad_artifacts", "teacher"] == 1, "shared bytes count once"


def test_workers_tell_of_their_memory(database: str) -> None:
    gpu = {"name": "H100", "used_bytes": 3, "total_bytes": 80}
    with session_scope() as session:
        now = database_now(session)
        about = {"host": "a", "pid": 1, "runner_bytes": 7, "gpu": gpu}
        session.add(WorkerBeat(id="a", seen_at=now, details=about))
        session.add(WorkerBeat(id="old", seen_at=now - timedelta(days=1), details=about))
        session.add(WorkerBeat(id="before the upgrade", seen_at=now, details={}))
    found = told(WorkerCollector())
    assert found["dfad_workers",] == 2
    assert found["dfad_worker_runner_memory_bytes", "a:1"] == 7
    assert found["dfad_worker_gpu_memory_used_bytes", "a:1", "H100"] == 3
    assert found["dfad_worker_gpu_memory_total_bytes", "a:1", "H100"] == 80
    assert ("dfad_worker_gpu_memory_used_bytes", "?:?", "H100") not in found


def test_what_is_dear_to_read_is_kept(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    clock = [0.0]
    monkeypatch.setattr("app.telemetry.jobs.time.monotonic", lambda: clock[0])

    def slowly(took: float) -> Any:
        def look(_session: Any) -> dict[str, Any]:
            read.append(took)
            clock[0] += took
            return {"n": len(read)}

        return look

    with read_scope() as session:
        quick, slow = Kept(slowly(0.01)), Kept(slowly(1.0))
        assert [quick.get(session)["n"], quick.get(session)["n"]] == [1, 2]
        assert [slow.get(session)["n"], slow.get(session)["n"]] == [3, 3]
        clock[0] += 20
        assert slow.get(session)["n"] == 4
