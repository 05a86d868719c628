"""How jobs, events and series look to clients."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from app.files.artifacts.views import ArtifactView, artifact_view
from app.http.pagination import Page
from app.jobs.lifecycle import is_terminal
from app.jobs.queries import queue_positions, results
from app.models import Job, JobEvent, Teacher
from app.models.job import Measurement, PhaseCount
from app.models.job_states import Status
from app.teachers.inspections import inspection_of
from app.workers.waiting_for import WaitingFor, waiting_jobs
from dfad_core.contract.job_result import JobError, JobResult
from dfad_core.contract.progress import phase_percent, running_percent, training_percent
from dfad_core.contract.serialization import JsonObject, from_json, to_json


class PhaseProgress(BaseModel):
    """How far evaluation or export is."""

    done: int
    total: int
    unit: str
    """What is counted: images or formats."""
    percent: float


class Progress(BaseModel):
    """How far the job is."""

    step: int
    total_steps: int
    percent: float
    """Of the training; 99 at most until the job has ended, for evaluation follows."""
    eta_seconds: float | None
    """Expected time to the job's end, evaluation and exports included; null while it cannot be told."""
    phase: PhaseProgress | None = None
    """Of the phases evaluating and exporting, while they go on and as soon as something is counted."""


class MeasurementView(BaseModel):
    """Accuracy on labelled images that came after the job's end: how far that is."""

    status: Literal["waiting", "succeeded", "failed"]
    filename: str
    """What the client called the file of images."""
    sha256: str
    """Of that file."""
    asked_at: datetime
    finished_at: datetime | None
    error: JobError | None
    """Why it failed."""


class JobView(BaseModel):
    """A job."""

    id: str
    object: str = "job"
    tenant_id: str
    status: Status
    phase: str | None
    terminal: bool
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    expires_at: datetime | None
    keep: bool
    attempt: int
    progress: Progress
    queue_position: int | None
    waiting_for: WaitingFor | None
    teacher: dict[str, Any]
    spec: dict[str, Any]
    resolved_spec: dict[str, Any]
    metrics: dict[str, float]
    result: JobResult | None
    measurement: MeasurementView | None
    """The latest after the job's end; its figures are the result's `accuracy`."""
    artifacts: list[ArtifactView]
    error: JobError | None
    metadata: dict[str, str]
    urls: dict[str, str]


class JobList(Page[JobView]):
    """A page of jobs, newest first."""


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


class MetricPoint(BaseModel):
    """One reading: `{step, seconds, name: value…}`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float | None] = Field(init=False)

    step: int
    seconds: float


class MetricsView(BaseModel):
    """A job's series, for plots."""

    data: list[MetricPoint]


SUBRESOURCES = ("events", "metrics", "samples", "artifacts", "student", "cancel", "pause", "resume", "rerun")


def job_views(session: Session, rows: Sequence[tuple[Job, Teacher]]) -> list[JobView]:
    """The views of jobs with their teachers, with a few more queries however many they are."""
    jobs = [job for job, _ in rows]
    # Students, report and manifest are published with the job's end.
    artifacts = _artifacts(session, [job.id for job in jobs if is_terminal(job.status)])
    queued = [job for job in jobs if job.status == Status.QUEUED]
    positions = queue_positions(session, [job.id for job in queued])
    waiting = waiting_jobs(session, queued, positions)
    return [
        _view(job, teacher, artifacts.get(job.id, []), positions.get(job.id), waiting.get(job.id))
        for job, teacher in rows
    ]


def _artifacts(session: Session, ids: list[str]) -> dict[str | None, list[ArtifactView]]:
    found: dict[str | None, list[ArtifactView]] = {}
    for artifact in results(session, ids):
        found.setdefault(artifact.job_id, []).append(artifact_view(artifact))
    return found


def _view(
    job: Job,
    teacher: Teacher,
    artifacts: list[ArtifactView],
    position: int | None,
    waiting_for: WaitingFor | None,
) -> JobView:
    return JobView(
        id=job.id,
        tenant_id=job.tenant_id,
        status=Status(job.status),
        phase=job.phase,
        terminal=is_terminal(job.status),
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        expires_at=job.expires_at,
        keep=job.keep,
        attempt=job.attempt,
        progress=_progress(job),
        queue_position=position,
        waiting_for=waiting_for,
        teacher=_teacher(job, teacher),
        spec=job.spec,
        resolved_spec=job.resolved_spec,
        metrics=job.metrics,
        result=None if job.result is None else from_json(JobResult, job.result),
        measurement=None if job.measurement is None else _measurement(job.measurement),
        artifacts=artifacts,
        error=from_json(JobError, job.error) if job.error else None,
        metadata=job.labels,
        urls={"self": f"/jobs/{job.id}", **{n: f"/jobs/{job.id}/{n}" for n in SUBRESOURCES}},
    )


def _measurement(row: Measurement) -> MeasurementView:
    error = None if row["error"] is None else from_json(JobError, row["error"])
    return MeasurementView.model_validate({**row, "error": error})


def _teacher(job: Job, row: Teacher) -> dict[str, Any]:
    """The teacher as the job describes it, completed by the inspection of the file."""
    spec: Any = job.resolved_spec.get("teacher", {})
    filled: JsonObject = {}
    inspection = inspection_of(row)
    if inspection is not None:
        report = to_json(inspection)
        names = ("architecture", "num_classes", "input")
        filled = {name: report[name] for name in names if spec.get(name) is None}
        if "architecture" in filled:
            filled["args"] = report["args"]
    return {"id": row.id, "filename": row.filename, "status": row.status, **spec, **filled}


def _progress(job: Job) -> Progress:
    budget: Any = job.resolved_spec.get("budget", {})
    planned = job.total_steps or int(budget.get("steps", 0))
    percent = training_percent(job.step, planned, (job.percent or 0.0) / 100)
    if job.status == Status.SUCCEEDED:
        percent = 100.0
    elif not is_terminal(job.status):
        percent = running_percent(percent)
    return Progress(
        step=job.step,
        total_steps=planned,
        percent=percent,
        eta_seconds=job.eta_seconds,
        phase=phase_progress(job.phase_progress),
    )


def phase_progress(counted: PhaseCount | None) -> PhaseProgress | None:
    """From the counts of a worker."""
    if counted is None:
        return None
    return PhaseProgress(**counted, percent=phase_percent(counted["done"], counted["total"]))


def event_view(event: JobEvent) -> EventView:
    """One event."""
    return EventView(seq=event.seq, type=event.type, created_at=event.created_at, data=event.data)
