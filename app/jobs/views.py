"""How jobs, events and series look to clients."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.artifacts.views import ArtifactView, artifact_view
from app.jobs.lifecycle import is_terminal
from app.jobs.states import Status
from app.models import Artifact, Job, JobEvent


class Progress(BaseModel):
    """How far the training is."""

    step: int
    total_steps: int
    percent: float
    eta_seconds: float | None


class JobError(BaseModel):
    """Why a job failed."""

    code: str
    message: str
    param: str | None = None


class JobView(BaseModel):
    """A job."""

    id: str
    object: str = "job"
    status: Status
    phase: str | None
    terminal: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempt: int
    progress: Progress
    queue_position: int | None
    teacher: dict[str, Any]
    spec: dict[str, Any]
    resolved_spec: dict[str, Any]
    metrics: dict[str, float]
    result: dict[str, Any] | None
    artifacts: list[ArtifactView]
    error: JobError | None
    metadata: dict[str, str]
    urls: dict[str, str]


class JobList(BaseModel):
    """A page of jobs, newest first."""

    data: list[JobView]
    has_more: bool
    first_id: str | None
    last_id: str | None


class EventView(BaseModel):
    """One event of a job's log."""

    seq: int
    type: str
    created_at: datetime
    data: dict[str, Any]


class EventList(BaseModel):
    """A page of events, oldest first; ask again with `after=last_seq`."""

    data: list[EventView]
    has_more: bool
    last_seq: int


class MetricsView(BaseModel):
    """A job's series, each point `{step, seconds, name: value…}`."""

    data: list[dict[str, float]]


SUBRESOURCES = ("events", "metrics", "samples", "artifacts", "student", "cancel")


def job_view(session: Session, job: Job) -> JobView:
    """The whole view of one job."""
    published = select(Artifact).where(Artifact.job_id == job.id, Artifact.published_at.is_not(None))
    wanted = published.where(Artifact.kind.in_(("student", "report")))
    return JobView(
        id=job.id,
        status=Status(job.status),
        phase=job.phase,
        terminal=is_terminal(job.status),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        attempt=job.attempt,
        progress=_progress(job),
        queue_position=_queue_position(session, job),
        teacher={"id": job.teacher_id, **job.resolved_spec.get("teacher", {})},
        spec=job.spec,
        resolved_spec=job.resolved_spec,
        metrics=job.metrics,
        result=job.result,
        artifacts=[artifact_view(a) for a in session.scalars(wanted.order_by(Artifact.id))],
        error=JobError(**job.error) if job.error else None,
        metadata=job.labels,
        urls={"self": f"/jobs/{job.id}", **{n: f"/jobs/{job.id}/{n}" for n in SUBRESOURCES}},
    )


def _progress(job: Job) -> Progress:
    planned = job.total_steps or int(job.resolved_spec.get("budget", {}).get("steps", 0))
    by_step = 100 * job.step / planned if planned else 0.0
    done = 100.0 if job.status == Status.SUCCEEDED else round(by_step, 2)
    return Progress(step=job.step, total_steps=planned, percent=done, eta_seconds=job.eta_seconds)


def _queue_position(session: Session, job: Job) -> int | None:
    """1 for the next in line; None once it runs."""
    if job.status != Status.QUEUED:
        return None
    before = select(func.count()).select_from(Job).where(Job.status == Status.QUEUED, Job.id < job.id)
    return (session.scalar(before) or 0) + 1


def event_view(event: JobEvent) -> EventView:
    """One event."""
    return EventView(seq=event.seq, type=event.type, created_at=event.created_at, data=event.data)
