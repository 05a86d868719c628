"""What becomes of a job that found no space, on its worker's disk or in a store, or no store that answers."""

from __future__ import annotations

import itertools

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.jobs import lifecycle
from app.jobs.events import append_event
from app.jobs.lifecycle import Claim
from app.models import Job, JobEvent
from app.models.job_states import STORAGE_FULL

_REASON = STORAGE_FULL.replace("_", " ")
LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 1.0, 300.0
MOST_DOUBLINGS = 10
MESSAGE = (
    "No space is left on the worker's disk, in the store or in the database, or the store does not answer. "
    "The job waits and goes on by itself when that is over."
)


def put_off(session: Session, claim: Claim) -> str:
    """Give an attempt back that found no space; it does not count, and the next one follows a pause.

    The pause doubles with every try, and the job's deadline stands still meanwhile. Returns what happened:
    requeued, paused or cancelled (if that was asked for), or stale.
    """
    if lifecycle.paused(session, claim):
        return "paused"
    if lifecycle.cancelled(session, claim):
        return "cancelled"
    tries = 1 + _tries_before(session, claim.job_id)
    delay = min(max(lifecycle.back_off(tries), LEAST_PAUSE_SECONDS), MOST_PAUSE_SECONDS)
    waits = {"waiting_reason": STORAGE_FULL, "paused_seconds": Job.paused_seconds + delay}
    if not lifecycle.requeue(session, claim, _REASON, delay=delay, counts=False, **waits):
        return "stale"
    append_event(session, claim.job_id, "warning", {"code": STORAGE_FULL, "message": MESSAGE})
    return "requeued"


def _tries_before(session: Session, job_id: str) -> int:
    """How many of its attempts in a row, up to now, found no space."""
    mine = (JobEvent.job_id == job_id, JobEvent.type == "job.requeued")
    query = select(JobEvent.data).where(*mine).order_by(JobEvent.seq.desc()).limit(MOST_DOUBLINGS)
    full = (data.get("reason") == _REASON for data in session.scalars(query))
    return sum(1 for _ in itertools.takewhile(bool, full))
