"""Clearing up after processes that were killed: what nobody owns any more."""

from __future__ import annotations

import itertools
import logging
import shutil
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import and_, delete, exists, or_, select
from sqlalchemy.orm import Session, aliased

from app.artifacts.blobs import forget, owned
from app.config import get_settings
from app.db import database_now, read_scope, session_scope
from app.jobs.removal import drop_job
from app.jobs.states import LEASED, TERMINAL, Status
from app.models import Artifact, Job, Teacher, Upload, WebhookDelivery, WorkerBeat
from app.storage import get_store
from app.teachers.service import drop_teacher
from app.uploads.service import drop as drop_upload
from worker.publish import drop_checkpoints

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 3600.0
"""Between two sweeps of one worker."""
ORPHAN_HOURS = 24
"""Bytes whose artifact row is still to come are never this old."""
LOOKED_UP_AT_ONCE = 500
ROWS_AT_ONCE = 100
LINES_AT_ONCE = 1000
Drop = Callable[[Session, Any], list[str]]
SCRATCH_SECONDS = 3600.0
"""A folder this old whose job does not run was left by a process that died."""


def sweep() -> None:
    """One round; any number of these may run at once."""
    sweep_uploads()
    sweep_retention()
    sweep_orphans()
    sweep_checkpoints()
    sweep_scratch()
    sweep_beats()
    sweep_deliveries()


def sweep_orphans() -> list[str]:
    """Delete stored bytes that no artifact came to own; returns their ids."""
    with read_scope() as session:
        before = database_now(session) - timedelta(hours=ORPHAN_HOURS)
    store, orphans = get_store(), []
    store.sweep_unfinished(before)
    old = (artifact_id for artifact_id, since in store.kept() if since < before)
    while ids := list(itertools.islice(old, LOOKED_UP_AT_ONCE)):
        with read_scope() as session:
            kept = owned(session, ids)
        orphans += [blob for blob in ids if blob not in kept]
    for artifact_id in orphans:
        store.delete(artifact_id)
    if orphans:
        logger.warning("deleted %d orphans of the store", len(orphans))
    return orphans


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


def sweep_scratch() -> list[str]:
    """Delete scratch folders of attempts that are over; returns their names."""
    folder = get_settings().scratch_folder
    if not folder.is_dir():
        return []
    before = time.time() - SCRATCH_SECONDS
    old = {f.name: f for f in folder.iterdir() if _modified(f) < before}
    with read_scope() as session:
        ids = [name.partition("-")[0] for name in old]
        running = set(session.scalars(select(Job.id).where(Job.id.in_(ids), Job.status.in_(LEASED))))
    gone = [name for name in old if name.partition("-")[0] not in running]
    for name in gone:
        shutil.rmtree(old[name], ignore_errors=True)
    return gone


def _modified(folder: Path) -> float:
    """Its time; now, if another sweeper has just deleted it."""
    try:
        return folder.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def sweep_beats() -> None:
    """Forget workers that have long been silent."""
    with session_scope() as session:
        before = database_now(session) - timedelta(hours=ORPHAN_HOURS)
        session.execute(delete(WorkerBeat).where(WorkerBeat.seen_at < before))


def sweep_deliveries() -> int:
    """Cut the log of webhooks; how many lines. What a disabled webhook was owed goes with its time."""
    gone = 0
    while True:
        # A part at a time: on SQLite nobody else writes meanwhile.
        with session_scope() as session:
            before = database_now(session) - timedelta(days=get_settings().webhook_log_days)
            old = or_(WebhookDelivery.finished_at < before, WebhookDelivery.next_attempt_at < before)
            some = select(WebhookDelivery.id).where(old).limit(LINES_AT_ONCE)
            found = session.execute(delete(WebhookDelivery).where(WebhookDelivery.id.in_(some)))
        cut: int = found.rowcount  # type: ignore[attr-defined]
        gone += cut
        if cut < LINES_AT_ONCE:
            return gone
