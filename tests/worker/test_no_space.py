"""What supervisors do where no space is left."""

from __future__ import annotations

import errno
import math
import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.jobs import lifecycle
from app.leases import ends, files, records
from app.models import Teacher
from app.platform.db import session_scope
from app.platform.settings import Settings
from app.storage import StoreAway
from app.teachers.inspections import InspectionClaim
from worker import attempt_runner, inspection, reconciler
from worker.database_service import DatabaseService
from worker.reconciler import Reconciler
from worker.scratch import no_space_in

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
DATABASE_FULL = OperationalError("UPDATE", {}, Exception("database or disk is full"))


def raising(error: Exception) -> Any:
    def act(*_: Any, **__: Any) -> None:
        raise error

    return act


@pytest.mark.parametrize("error", [FULL, DATABASE_FULL, StoreAway("no answer")])
@pytest.mark.parametrize("place", ["fetch", "store", "record_phase_progress", "keep_student"])
def test_an_attempt_without_space_is_put_off(
    scripted: Any,
    attempt: Any,
    stored_jobs: Any,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    place: str,
) -> None:
    job_id = scripted("evaluate")
    with monkeypatch.context() as patch:
        patch.setattr(files if place in ("fetch", "store") else records, place, raising(error))
        assert attempt(job_id) == "requeued"
    row = stored_jobs.row(job_id)
    assert (row.status, row.attempt, row.waiting_reason) == ("queued", 0, "storage_full")


def test_a_heartbeat_without_space_is_no_lost_lease(
    scripted: Any, attempt: Any, stored_jobs: Any, monkeypatch: pytest.MonkeyPatch, fast_beats: Any
) -> None:
    fast_beats(fence=0.5)
    monkeypatch.setattr(records, "heartbeat", raising(DATABASE_FULL))
    assert attempt(job_id := scripted("hang")) == "requeued"
    assert stored_jobs.row(job_id).waiting_reason == "storage_full"


def test_to_say_so_is_tried_until_there_is_space(
    scripted: Any, attempt: Any, stored_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries: list[int] = []
    put_off = ends.put_off

    def late(*given: Any) -> str:
        tries.append(1)
        return put_off(*given) if len(tries) > 3 else raising(DATABASE_FULL)()

    monkeypatch.setattr(attempt_runner, "AWAY_SECONDS", 0.01)
    monkeypatch.setattr(ends, "put_off", late)
    monkeypatch.setattr(files, "fetch", raising(FULL))
    assert attempt(scripted("finish")) == "requeued"
    assert len(tries) == 4


def test_a_runner_that_cannot_say_why_it_died(
    scripted: Any, attempt: Any, stored_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt_runner, "no_space_in", lambda _folder: True)
    assert attempt(job_id := scripted("crash_at_once")) == "requeued"
    assert stored_jobs.row(job_id).waiting_reason == "storage_full"
    assert attempt(scripted("reject")) == "failed", "that is the file's fault, and explained"


def test_a_file_that_had_no_space_to_be_read_in_is_not_rejected(
    scripted: Any, stored_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher_id = stored_jobs.teacher()
    monkeypatch.setattr(inspection, "_ask", lambda *_: inspection.CRASHED)
    monkeypatch.setattr(inspection, "no_space_in", lambda _folder: True)
    with pytest.raises(OSError, match="No space"):
        inspection.inspect_teacher(InspectionClaim(teacher_id, "local", "w"), DatabaseService())
    with session_scope() as session:
        assert session.get_one(Teacher, teacher_id).status == "inspecting"


def test_a_reaper_leaves_time_after_a_full_disk(
    database: str, stored_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings, "reaper_seconds", 0.05)
    rounds: list[bool] = []

    def one(*, reap: bool = True) -> None:
        rounds.append(reap)
        if len(rounds) == 2:
            raise DATABASE_FULL
        if len(rounds) == 5:
            thread.close()

    monkeypatch.setattr(reconciler, "reconcile", one)
    thread = Reconciler()
    thread.start()
    thread.join(20)
    assert rounds == [True, True, False, False, False]


def test_a_round_without_reaping(database: str, stored_jobs: Any) -> None:
    job_id = stored_jobs.submit()
    with session_scope() as session:
        assert lifecycle.claim(session, job_id, "gone")
        stored_jobs.row(job_id)
    with session_scope() as session:
        lapsed = lifecycle.steady_now(session)
        session.query(lifecycle.Job).update({"lease_expires_at": lapsed})
    reconciler.reconcile(reap=False)
    assert stored_jobs.row(job_id).status == "running"
    reconciler.reconcile()
    assert stored_jobs.row(job_id).status == "queued"


def test_a_folder_with_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not no_space_in(tmp_path)
    monkeypatch.setattr("worker.scratch.NO_SPACE_BYTES", math.inf)
    assert no_space_in(tmp_path)
