"""Which rows of jobs the API and the pages read, each query once."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.orm import Session

from app.models import Artifact, Job, JobEvent, Teacher
from app.models.artifact import INPUTS
from app.models.job_states import Status
from app.models.tenancy import owned_by, standing

LOGS = {
    "": "all but progress",
    "progress": "progress",
    "trouble": "warnings",
    "states": "states and phases",
    "all": "all",
}
"""Kind of log entries -> its name."""
_STATES = JobEvent.type.like("job.%") | (JobEvent.type == "phase")
_KINDS = {
    "": JobEvent.type != "progress",
    "progress": JobEvent.type == "progress",
    "trouble": JobEvent.type.in_(("warning", "job.failed")),
    "states": _STATES,
}
_RESULTS = standing(
    select(Artifact)
    .where(Artifact.job_id.in_(bindparam("ids", expanding=True)), Artifact.published_at.is_not(None))
    .where(Artifact.kind.not_in(("samples", "checkpoint", *INPUTS)))
    .order_by(Artifact.id)
)


def jobs_of(tenant_id: str, status: str | None = None) -> Select[Job, Teacher]:
    """The tenant's jobs with their teachers, without an order."""
    query = select(Job, Teacher).join(Teacher, Teacher.id == Job.teacher_id).where(owned_by(Job, tenant_id))
    return query if status is None else query.where(Job.status == status)


def published(job_id: str, kind: str | None = None) -> Select[Artifact]:
    """What clients see of the job's files, oldest first."""
    query = select(Artifact).where(Artifact.job_id == job_id, Artifact.published_at.is_not(None))
    if kind is not None:
        query = query.where(Artifact.kind == kind)
    return query.order_by(Artifact.created_at, Artifact.id)


def results(session: Session, job_ids: Sequence[str]) -> Sequence[Artifact]:
    """The files in which these jobs ended: students, reports and manifests."""
    return session.scalars(_RESULTS, {"ids": job_ids}).all() if job_ids else ()


def stored_bytes(session: Session, job_id: str) -> int:
    """Of all files of the job."""
    return session.scalar(select(func.sum(Artifact.bytes)).where(Artifact.job_id == job_id)) or 0


def newest_seq(session: Session, job_id: str) -> int:
    """Number of the job's newest event; 0 without any."""
    return session.scalar(select(func.max(JobEvent.seq)).where(JobEvent.job_id == job_id)) or 0


def states(job_id: str, most: int) -> Select[JobEvent]:
    """The job's states and phases, oldest first."""
    mine = select(JobEvent).where(JobEvent.job_id == job_id, _STATES)
    return mine.order_by(JobEvent.seq).limit(most)


def log(job_id: str, kind: str, before: int | None, most: int) -> Select[JobEvent]:
    """The job's newest events of a kind of LOGS, those below the number `before` if one is given."""
    query = select(JobEvent).where(JobEvent.job_id == job_id)
    if kind in _KINDS:
        query = query.where(_KINDS[kind])
    if before is not None:
        query = query.where(JobEvent.seq < before)
    return query.order_by(JobEvent.seq.desc()).limit(most)


def queue_positions(session: Session, job_ids: Sequence[str]) -> dict[str, int]:
    """1 for the tenant's next, in the order they are claimed; one pass over the tenant's queue."""
    if not job_ids:
        return {}
    order = (Job.priority.desc(), Job.id)
    place = func.row_number().over(partition_by=Job.tenant_id, order_by=order).label("place")
    tenants = select(Job.tenant_id).where(Job.id.in_(job_ids))
    queue = select(Job.id, place).where(Job.status == Status.QUEUED, Job.tenant_id.in_(tenants)).subquery()
    found = session.execute(select(queue.c.id, queue.c.place).where(queue.c.id.in_(job_ids)))
    return {row.id: row.place for row in found}
