"""Clearing up after processes that were killed: what nobody owns any more."""

from __future__ import annotations

import itertools
import logging
import shutil
import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy import delete, select

from app.config import get_settings
from app.db import database_now, read_scope, session_scope
from app.jobs.states import LEASED, Status
from app.models import Artifact, Job, WorkerBeat
from app.storage import get_store
from worker.publish import drop_checkpoints

logger = logging.getLogger(__name__)

SWEEP_SECONDS = 3600.0
"""Between two sweeps of one worker."""
ORPHAN_HOURS = 24
"""Bytes whose artifact row is still to come are never this old."""
LOOKED_UP_AT_ONCE = 500
SCRATCH_SECONDS = 3600.0
"""A folder this old whose job does not run was left by a process that died."""


def sweep() -> None:
    """One round; any number of these may run at once."""
    sweep_orphans()
    sweep_checkpoints()
    sweep_scratch()
    sweep_beats()


def sweep_orphans() -> list[str]:
    """Delete stored bytes that no artifact came to own; returns their ids."""
    with read_scope() as session:
        before = database_now(session) - timedelta(hours=ORPHAN_HOURS)
    store, orphans = get_store(), []
    store.sweep_unfinished(before)
    old = (artifact_id for artifact_id, since in store.kept() if since < before)
    while ids := list(itertools.islice(old, LOOKED_UP_AT_ONCE)):
        with read_scope() as session:
            owned = set(session.scalars(select(Artifact.id).where(Artifact.id.in_(ids))))
        orphans += [artifact_id for artifact_id in ids if artifact_id not in owned]
    for artifact_id in orphans:
        store.delete(artifact_id)
    if orphans:
        logger.warning("deleted %d orphans of the store", len(orphans))
    return orphans


def sweep_checkpoints() -> None:
    """Delete checkpoints of jobs that succeeded; those of failed jobs are all that is left of them."""
    with read_scope() as session:
        query = select(Artifact.job_id).distinct().join(Job, Job.id == Artifact.job_id)
        done = (Artifact.kind == "checkpoint", Job.status == Status.SUCCEEDED)
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
