"""The append-only log of a job."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import update
from sqlalchemy.orm import Session

from app.models import Job, JobEvent
from app.platform.db import database_now
from app.webhooks.owing import owe
from dfad_core.contract.serialization import JsonValue


def append_event(
    session: Session, job_id: str, kind: str, data: Mapping[str, JsonValue] | None = None
) -> int:
    """Add one event, with what it owes the tenant's webhooks, and return its `seq`.

    The row's counter is raised first, which locks the row: two writers cannot take one number, and
    a reader that sees number n has every number before it.
    """
    raised = update(Job).where(Job.id == job_id).values(last_seq=Job.last_seq + 1).returning(Job.last_seq)
    seq = session.execute(raised.execution_options(synchronize_session=False)).scalar_one()
    now = database_now(session)
    session.add(JobEvent(job_id=job_id, seq=seq, type=kind, created_at=now, data=dict(data or {})))
    owe(session, job_id, kind, seq, now)
    session.flush()
    return seq
