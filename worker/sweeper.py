"""Clearing up after processes that were killed: what nobody owns any more; and measuring what is kept."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, exists, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, aliased

from app.access.usage.service import measure_stored_bytes
from app.files.artifacts.blobs import forget, owned
from app.files.uploads.service import drop as drop_upload
from app.jobs.removal import drop_job
from app.leases.records import drop_checkpoints
from app.models import Artifact, AuditEvent, BlobRemoval, Job, Teacher, Upload, WebhookDelivery, WorkerBeat
from app.models.clock import steady_now
from app.models.job_states import TERMINAL, Status
from app.platform.db import database_now, read_scope, session_scope, shrink
from app.platform.ids import first_id
from app.platform.settings import get_settings
from app.storage import find_store, get_store, store_names
from app.teachers.service import drop_teacher
from worker.scratch import sweep_scratch

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 3600.0
"""Between two sweeps of one worker."""
ORPHAN_HOURS = 24
"""Bytes whose artifact row is still to come are never this old."""
LOOKED_UP_AT_ONCE = 500
ROWS_AT_ONCE = 10
"""Jobs and the like in one transaction: each takes thousands of rows of events and readings along."""
LINES_AT_ONCE = 1000
Drop = Callable[[Session, Any], list[str]]
LOOK_SECONDS = 10.0
"""Between two looks for what a process left behind that died, and for large files to be deleted."""
REMOVAL_LEASE = timedelta(seconds=60)
MEASURED_EVERY = timedelta(minutes=10)
"""By one of the workers: what tenants keep, for the peak of the month."""


class Sweeper(threading.Thread):
    """Clears up beside the reconciler and not in it: a large file must not hold up the reaper."""

    def __init__(self) -> None:
        super().__init__(name="sweeper", daemon=True)
        self._end = threading.Event()

    def run(self) -> None:
        """Until the process ends."""
        swept = -SWEEP_SECONDS
        while True:
            try:
                sweep_scratch()
                removed = sweep_removals()
                if time.monotonic() - swept >= SWEEP_SECONDS:
                    swept = time.monotonic()
                    sweep()
                elif removed:
                    shrink()
                measure_stored_bytes(MEASURED_EVERY)
            except SQLAlchemyError as error:
                logger.warning("the database is away (%s); clearing up waits", type(error).__name__)
            except Exception:
                # A round that fails must not end all rounds to come.
                logger.exception("a round of the sweeper failed")
            if self._end.wait(LOOK_SECONDS):
                return

    def close(self) -> None:
        """End after the present round."""
        self._end.set()


def sweep() -> None:
    """All of it; any number of these may run at once."""
    sweep_removals()
    sweep_uploads()
    sweep_retention()
    sweep_orphans()
    sweep_checkpoints()
    sweep_scratch()
    sweep_beats()
    sweep_deliveries()
    sweep_audit()
    shrink()


def sweep_orphans(hours: float = ORPHAN_HOURS) -> list[str]:
    """Delete stored bytes so old that no artifact came to own; returns their ids."""
    with read_scope() as session:
        before = database_now(session) - timedelta(hours=hours)
    deleted: list[str] = []
    for store in map(get_store, store_names()):
        store.sweep_unfinished(before)
        old = (artifact_id for artifact_id, since in store.kept() if since < before)
        orphans: list[str] = []
        while ids := list(itertools.islice(old, LOOKED_UP_AT_ONCE)):
            with read_scope() as session:
                kept = owned(session, ids)
            orphans += [blob for blob in ids if blob not in kept]
        for artifact_id in orphans:
            store.delete(artifact_id)
        deleted += orphans
    if deleted:
        logger.warning("deleted %d orphans of the stores", len(deleted))
    return deleted


def sweep_uploads() -> int:
    """Forget uploads whose time is over; how many there were."""
    return _sweep(Upload, Upload.expires_at, drop_upload)


def sweep_retention() -> int:
    """Delete jobs whose time is over, then teachers that no job is left of; how many there were."""
    jobs = _sweep(Job, Job.expires_at, lambda session, job: drop_job(session, job.id))
    days = get_settings().retention_days
    if days is None:
        return jobs
    taught = exists().where(Job.teacher_id == Teacher.id)
    unused = (Teacher.deleted_at.is_(None), ~taught)
    return jobs + _sweep(Teacher, Teacher.created_at, drop_teacher, *unused, age=timedelta(days=days))


def _sweep(model: Any, since: Any, drop: Drop, *which: Any, age: timedelta = timedelta()) -> int:
    """Drop expired rows a few at a time; other sweepers take others meanwhile."""
    gone = 0
    while True:
        with session_scope() as session:
            query = select(model).where(since <= database_now(session) - age, *which).limit(ROWS_AT_ONCE)
            rows = list(session.scalars(query.with_for_update(skip_locked=True)))
            blobs = [blob for row in rows for blob in drop(session, row)]
        forget(blobs)
        gone += len(rows)
        if len(rows) < ROWS_AT_ONCE:
            return gone


def sweep_checkpoints() -> None:
    """Delete checkpoints of jobs that ended with a student; of others they are all that is left."""
    student = aliased(Artifact)
    kept = exists().where(student.job_id == Job.id, student.kind == "student")
    with read_scope() as session:
        query = select(Artifact.job_id).distinct().join(Job, Job.id == Artifact.job_id)
        over = or_(Job.status == Status.SUCCEEDED, and_(Job.status.in_(TERMINAL), kept))
        done = (Artifact.kind == "checkpoint", over)
        job_ids = [job_id for job_id in session.scalars(query.where(*done)) if job_id is not None]
    for job_id in job_ids:
        drop_checkpoints(job_id, keep=0)


def sweep_removals() -> int:
    """Delete the bytes of rows that are gone; how many files. Any number of workers may, each its own."""
    gone = 0
    while (claimed := _claim_removal()) is not None:
        removal_id, blob = claimed
        with read_scope() as session:
            named = blob in owned(session, [blob])
        if not named:
            get_store(find_store(blob)).delete(blob, _Renewal(removal_id))
        with session_scope() as session:
            session.execute(delete(BlobRemoval).where(BlobRemoval.id == removal_id))
        gone += not named
    return gone


def _claim_removal() -> tuple[str, str] | None:
    """Id and blob of one that nobody is at."""
    with read_scope() as session:
        due = BlobRemoval.due_at <= database_now(session)
        query = select(BlobRemoval.id, BlobRemoval.blob_id).where(due).order_by(BlobRemoval.due_at)
        found = session.execute(query.limit(LOOKED_UP_AT_ONCE)).all()
    for removal_id, blob in found:
        with session_scope() as session:
            now = database_now(session)
            free = (BlobRemoval.id == removal_id, BlobRemoval.due_at <= now)
            taken = session.execute(update(BlobRemoval).where(*free).values(due_at=now + REMOVAL_LEASE))
        if taken.rowcount == 1:  # type: ignore[attr-defined]
            return removal_id, blob
    return None


class _Renewal:
    """Renews the claim of a removal that takes long."""

    def __init__(self, removal_id: str) -> None:
        self._removal_id, self._renewed = removal_id, time.monotonic()

    def __call__(self) -> None:
        if time.monotonic() - self._renewed < REMOVAL_LEASE.total_seconds() / 4:
            return
        self._renewed = time.monotonic()
        with session_scope() as session:
            mine = update(BlobRemoval).where(BlobRemoval.id == self._removal_id)
            session.execute(mine.values(due_at=database_now(session) + REMOVAL_LEASE))


def sweep_beats() -> None:
    """Forget workers that have long been silent."""
    with session_scope() as session:
        before = steady_now(session) - timedelta(hours=ORPHAN_HOURS)
        session.execute(delete(WorkerBeat).where(WorkerBeat.seen_at < before))


def sweep_deliveries() -> int:
    """Cut the log of webhooks; how many lines. What a disabled webhook was owed goes with its time."""

    def old(now: datetime) -> ColumnElement[bool]:
        before = now - timedelta(days=get_settings().webhook_log_days)
        return or_(WebhookDelivery.finished_at < before, WebhookDelivery.next_attempt_at < before)

    return _cut(WebhookDelivery, old)


def sweep_audit() -> int:
    """Cut the audit; how many lines. Ids sort by time, and have an index."""
    days = timedelta(days=get_settings().audit_days)
    return _cut(AuditEvent, lambda now: AuditEvent.id < first_id("aud", now - days))


def _cut(model: type[WebhookDelivery | AuditEvent], old: Callable[[datetime], ColumnElement[bool]]) -> int:
    """Delete lines that are `old` now, a part at a time: on SQLite nobody else writes meanwhile."""
    gone = 0
    while True:
        with session_scope() as session:
            some = select(model.id).where(old(database_now(session))).limit(LINES_AT_ONCE)
            found = session.execute(delete(model).where(model.id.in_(some)))
        cut: int = found.rowcount  # type: ignore[attr-defined]
        gone += cut
        if cut < LINES_AT_ONCE:
            return gone
