"""What a job or a teacher waits for, in a sentence that the page and the command show as it is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Job, Teacher, WorkerBeat
from app.models.clock import steady_now
from app.models.job_states import STORAGE_FULL
from app.workers.seen import live_workers, taken_devices


class WaitingFor(BaseModel):
    """What holds it up.

    `worker`: none is alive that takes it. `turn`: others are before it, or no worker is free. `retry`: the
    pause before the next attempt. `storage`: the same, as there was no space left. `reading`: a worker has
    begun.
    """

    code: Literal["worker", "turn", "retry", "storage", "reading"]
    message: str


def waiting_jobs(session: Session, jobs: Sequence[Job], places: dict[str, int]) -> dict[str, WaitingFor]:
    """By id, for queued jobs at their `places` in the tenant's queue, from 1; two more queries in all."""
    if not jobs:
        return {}
    now, workers = steady_now(session), live_workers(session)
    return {job.id: _job(job, places.get(job.id, 1), now, workers) for job in jobs}


def _job(job: Job, place: int, now: datetime, workers: Sequence[WorkerBeat]) -> WaitingFor:
    if not workers:
        return _NONE_ALIVE
    if job.device not in taken_devices(workers):
        text = f"Waiting for a worker that takes jobs of device {job.device}: none is alive."
        return WaitingFor(code="worker", message=text)
    if job.run_after > now and job.waiting_reason == STORAGE_FULL:
        text = "Waiting for space: none was left on a worker's disk, in the store or in the database."
        return WaitingFor(code="storage", message=text)
    if job.run_after > now:
        return WaitingFor(code="retry", message="Waiting for the next attempt.")
    if place > 1:
        return WaitingFor(code="turn", message=f"Waiting: {_before(place - 1, 'job')} before this one.")
    return WaitingFor(code="turn", message="Waiting for a free worker.")


def waiting_teachers(session: Session, teachers: Sequence[Teacher]) -> dict[str, WaitingFor]:
    """By id, for those that are still to be inspected; each waits for files of its own tenant alone."""
    if not teachers:
        return {}
    now, workers = steady_now(session), live_workers(session)
    waiting = {}
    for teacher in teachers:
        if not workers:
            waiting[teacher.id] = _NONE_ALIVE
        elif teacher.inspector is not None and teacher.inspect_after > now:
            waiting[teacher.id] = WaitingFor(code="reading", message="A worker is reading the file.")
        else:
            waiting[teacher.id] = _turn(session, teacher)
    return waiting


def _turn(session: Session, teacher: Teacher) -> WaitingFor:
    earlier = (Teacher.inspect_after < teacher.inspect_after, Teacher.deleted_at.is_(None))
    query = select(func.count()).select_from(Teacher).where(Teacher.status == "inspecting", *earlier)
    number = session.scalar(query.where(Teacher.tenant_id == teacher.tenant_id)) or 0
    if number:
        text = f"Waiting: {_before(number, 'file')} read before this one."
        return WaitingFor(code="turn", message=text)
    return WaitingFor(code="turn", message="Waiting for a worker to read the file.")


_NONE_ALIVE = WaitingFor(code="worker", message="Waiting for a worker: none is alive.")


def _before(number: int, noun: str) -> str:
    return f"1 {noun} is" if number == 1 else f"{number} {noun}s are"
