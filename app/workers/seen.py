"""Which workers are alive, and which jobs wait for one that none of them is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Job, WorkerBeat
from app.models.clock import steady_now
from app.models.job_states import Status
from app.platform.db import read_scope
from app.platform.settings import get_settings

MISSED_BEATS = 2.5
"""A worker that missed so many heartbeats counts as silent."""
LEAST_SECONDS = 5.0
"""A busy machine delays a heartbeat by seconds, however short they are."""
LISTED_SECONDS = 3600.0
"""A worker that is silent for longer is not listed any more."""


@dataclass(frozen=True)
class SeenWorker:
    """A worker and its last sign of life."""

    row: WorkerBeat
    seconds_ago: float
    alive: bool


def seen_workers(session: Session) -> list[SeenWorker]:
    """Workers of the last hour, those that live first."""
    now = steady_now(session)
    rows = session.scalars(
        select(WorkerBeat).where(WorkerBeat.seen_at >= now - timedelta(seconds=LISTED_SECONDS))
    )
    ages = [(row, max(0.0, (now - row.seen_at).total_seconds())) for row in rows]
    silent = max(LEAST_SECONDS, MISSED_BEATS * get_settings().heartbeat_seconds)
    workers = [SeenWorker(row, age, age <= silent) for row, age in ages]
    return sorted(workers, key=lambda worker: (not worker.alive, worker.row.id))


def live_workers(session: Session | None = None) -> list[WorkerBeat]:
    """Workers that gave a sign of life lately."""
    if session is None:
        with read_scope() as own:
            return live_workers(own)
    return [worker.row for worker in seen_workers(session) if worker.alive]


def taken_devices(workers: Sequence[WorkerBeat]) -> set[str]:
    """Devices of the jobs that these workers take."""
    reports = [worker.report for worker in workers]
    return {device for report in reports for device in report.takes or ("auto", *report.devices)}


def waiting_without_worker(session: Session, workers: Sequence[WorkerBeat]) -> dict[str, int]:
    """Number of queued jobs by their device, for devices that none of these workers takes."""
    counts = select(Job.device, func.count()).where(Job.status == Status.QUEUED).group_by(Job.device)
    taken = taken_devices(workers)
    rows = session.execute(counts).all()
    return {device: number for device, number in sorted((r[0], r[1]) for r in rows) if device not in taken}
