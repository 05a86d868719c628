"""The clock of leases: not that of the wall, and a new one after each boot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from app.jobs import lifecycle
from app.models import Job, OutboxMessage, SteadyClock, WorkerBeat
from app.models import clock as steady_clock
from app.models.clock import steady_now
from app.platform.db import database_now, read_scope, session_scope
from app.workers.seen import live_workers
from dfad_core.contract import machine


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Puts the time of day of SQLite's machine ahead by seconds, or back."""

    def put(seconds: float) -> None:
        def shifted(session: Any) -> Any:
            return database_now(session) + timedelta(seconds=seconds)

        monkeypatch.setattr(steady_clock, "database_now", shifted)
        monkeypatch.setattr(lifecycle, "database_now", shifted)

    return put


def now() -> Any:
    with session_scope() as session:
        return steady_now(session)


def claim(job_id: str, owner: str = "w1") -> lifecycle.Claim | None:
    with session_scope() as session:
        return lifecycle.claim(session, job_id, owner)


def expired() -> list[str]:
    with session_scope() as session:
        return lifecycle.expire_leases(session)


def test_it_begins_at_the_time_of_day_and_goes_on(each_database: str) -> None:
    first = now()
    with read_scope() as session:
        assert abs((steady_now(session) - database_now(session)).total_seconds()) < 60
    assert now() >= first


@pytest.mark.parametrize("jump", [90_000, -90_000])
def test_a_clock_that_is_set_moves_no_lease_and_no_turn(
    database: str, stored_jobs: Any, set_clock: Callable[[float], None], jump: float
) -> None:
    running, waiting = stored_jobs.submit(), stored_jobs.submit()
    held = claim(running)
    assert held is not None
    set_clock(jump)
    assert expired() == []
    with session_scope() as session:
        assert lifecycle.heartbeat(session, held).alive
    assert claim(waiting) is not None, "it waited for the hour of its submission to come again"
    with session_scope() as session:
        assert lifecycle.requeue(session, held, "its worker shut down", delay=0, counts=False)
    again = claim(running)
    assert again is not None
    assert again.seconds_before < 60, "the deadline is not a matter of the clock on the wall"


def test_what_is_held_and_awaited_ends_with_the_boot(
    database: str, stored_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    running, waiting = stored_jobs.submit(), stored_jobs.submit()
    assert claim(running)
    with session_scope() as session:
        later = steady_now(session) + timedelta(hours=9)  # by a clock that was wrong then
        session.execute(update(Job).where(Job.id == waiting).values(run_after=later))
        session.execute(update(OutboxMessage).values(due_at=later))
        session.add(WorkerBeat(id="w1", seen_at=later, details={}))
    assert expired() == []
    monkeypatch.setattr(steady_clock, "boot_id", lambda: "another")
    assert expired() == [running]
    assert claim(waiting) is not None
    with session_scope() as session:
        assert live_workers(session) == []
        (row,) = session.scalars(select(SteadyClock))
        assert row.boot_id == "another"
        soon = steady_now(session) + timedelta(minutes=5)
        assert all(due < soon for due in session.scalars(select(OutboxMessage.due_at)))


def test_without_a_boot_id_it_is_the_time_of_day(
    database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "BOOT_ID", tmp_path / "none")
    machine.boot_id.cache_clear()
    try:
        assert abs((now() - _wall()).total_seconds()) < 60
        with read_scope() as session:
            assert list(session.scalars(select(SteadyClock))) == []
    finally:
        machine.boot_id.cache_clear()


def _wall() -> Any:
    with read_scope() as session:
        return database_now(session)
