"""The student that a job keeps before its end: stored when training is over, published when the job is.

The worker puts the row in; every move to a terminal state shows it to clients in its own transaction, so that
no end of a job, by whomever, loses what was trained.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.models import Artifact, Job
from app.models.job_states import Status
from app.platform.db import database_now

TRAINED = "Training was finished; its student is kept, though not all of it was measured."


def unpublished(job_id: str) -> tuple[Any, ...]:
    """Which artifact that is."""
    return (Artifact.job_id == job_id, Artifact.kind == "student", Artifact.published_at.is_(None))


def publish_student(session: Session, job_id: str, ended: Status, values: dict[str, Any]) -> dict[str, Any]:
    """Show the student of a job that has just `ended`; `values` as they stand in the job's row from now on.

    It is partial unless the job succeeded. A job without a result gets what was known of the student when it
    was stored, and the error of one that failed after its training says so.
    """
    student = session.scalars(select(Artifact).where(*unpublished(job_id))).first()
    if student is None:
        return values
    student.published_at = database_now(session)
    student.partial = ended != Status.SUCCEEDED
    known: dict[str, Any] = student.details
    student.details = {}
    changed = {}
    if values.get("result") is None and known.get("result") is not None:
        changed["result"] = known["result"]
    if ended == Status.FAILED and known.get("complete"):
        error = values["error"]
        changed["error"] = {**error, "message": f"{error['message']} {TRAINED}"}
    session.flush()
    if changed:
        session.execute(
            update(Job).where(Job.id == job_id).values(**changed).execution_options(synchronize_session=False)
        )
    return {**values, **changed}
