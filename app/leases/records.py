"""What an attempt tells of its job while it runs. Nothing of a stale attempt is ever written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.files.artifacts.blobs import forget, remove_artifacts
from app.jobs.events import append_event
from app.jobs.lifecycle import Beat, Claim, heartbeat, update_held
from app.jobs.students import unpublished
from app.leases.files import StoredFile
from app.models import Artifact, Job, JobEvent, JobMetric, Teacher
from app.platform.db import database_now, read_scope, session_scope
from app.teachers.inspections import record_inspection
from app.teachers.schemas import TeacherSpec
from app.telemetry import counters
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import JobError
from dfad_core.contract.progress import MOST_PERCENT, PhaseProgress, Progress
from dfad_core.contract.serialization import JsonObject, JsonValue

KEPT_CHECKPOINTS = 2


QUEUED = ("job.queued", "job.requeued")


@dataclass(frozen=True)
class JobTrace:
    """Where an attempt belongs in the trace of the request that submitted its job."""

    traceparent: str | None = None
    queued_at: datetime | None = None
    """When the wait began that this attempt ended."""


class LeaseLost(Exception):
    """A write was refused because the job is another attempt's now."""


def renew(claim: Claim) -> Beat:
    """Renew the lease; see `lifecycle.heartbeat`."""
    with session_scope() as session:
        return heartbeat(session, claim)


def look(claim: Claim) -> Beat:
    """Whether the attempt still holds the job, and what the user wants; renews nothing."""
    with read_scope() as session:
        query = select(Job.stop_requested, Job.fence).where(Job.id == claim.job_id)
        row = session.execute(query).first()
    if row is None or row.fence != claim.fence:
        return Beat(alive=False)
    return Beat(alive=True, stop=row.stop_requested)


def job_trace(claim: Claim) -> JobTrace:
    """Of the job's latest wait."""
    with read_scope() as session:
        queued = select(JobEvent).where(JobEvent.job_id == claim.job_id, JobEvent.type.in_(QUEUED))
        events = list(session.scalars(queued.order_by(JobEvent.seq)))
    parent = next((str(e.data["traceparent"]) for e in events if "traceparent" in e.data), None)
    return JobTrace(parent, events[-1].created_at if events else None)


def publish_file(claim: Claim, file: StoredFile) -> None:
    """Show a samples picture or a checkpoint and tell of it; once, however often it is asked for.

    Raises LeaseLost; the bytes are then the caller's to forget.
    """
    with session_scope() as session:
        _hold(session, claim)
        if session.get(Artifact, file.id) is None:
            row = file.row(claim.tenant_id, claim.job_id)
            row.created_at = row.published_at = database_now(session)
            session.add(row)
            session.flush()
            append_event(session, claim.job_id, row.kind, {"step": row.step, "artifact_id": row.id})
            if row.kind == "checkpoint":
                counters.count(session, "dfad_checkpoints")
    if file.kind == "checkpoint":
        drop_checkpoints(claim.job_id, keep=KEPT_CHECKPOINTS)


def keep_student(claim: Claim, file: StoredFile, details: JsonObject) -> None:
    """Put a job's student in the place of one that an earlier attempt left. Raises LeaseLost.

    Its row is there from now on; clients see it from the job's end on, whoever brings that about
    (`app.jobs.students`). `details`: whether it is `complete`, and the `result` until then.
    """
    with session_scope() as session:
        _hold(session, claim)
        if session.get(Artifact, file.id) is not None:
            return
        row = file.row(claim.tenant_id, claim.job_id)
        row.partial, row.details = True, details
        before = remove_artifacts(session, *unpublished(claim.job_id))
        row.created_at = database_now(session)
        session.add(row)
    forget(before)


def drop_checkpoints(job_id: str, *, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints of a job."""
    with session_scope() as session:
        blobs = remove_checkpoints(session, job_id, keep=keep)
    forget(blobs)


def remove_checkpoints(session: Session, job_id: str, *, keep: int = 0) -> list[str]:
    """Their rows, in the caller's transaction; the blobs to forget after the commit."""
    query = select(Artifact.id).where(Artifact.job_id == job_id, Artifact.kind == "checkpoint")
    old = list(session.scalars(query.order_by(Artifact.created_at.desc(), Artifact.id.desc())))[keep:]
    return remove_artifacts(session, Artifact.id.in_(old))


def _hold(session: Session, claim: Claim, **values: Any) -> None:
    """Fail unless the attempt still holds the job; takes the row's lock on the way."""
    if not update_held(session, claim, **(values or {"lease_owner": claim.owner})):
        raise LeaseLost


def record_progress(claim: Claim, progress: Progress) -> None:
    """One report of the loop: the row's latest figures, a point of the series, an event."""
    metrics = dict(progress.metrics)
    figures: JsonObject = {
        "step": progress.step,
        "total_steps": progress.total_steps,
        "percent": progress.percent,
        "eta_seconds": progress.eta_seconds,
        "metrics": metrics,
    }
    with session_scope() as session:
        _hold(session, claim, **{**figures, "percent": progress.training_percent})
        session.merge(
            JobMetric(job_id=claim.job_id, step=progress.step, seconds=progress.seconds, series=metrics)
        )
        append_event(session, claim.job_id, "progress", figures)


def record_phase_progress(claim: Claim, progress: PhaseProgress) -> None:
    """How far evaluation or export is: an event of the kind that training has, with `phase` in it."""
    phase: JsonObject = {"done": progress.done, "total": progress.total, "unit": progress.unit}
    with session_scope() as session:
        _hold(session, claim, phase_progress=phase, eta_seconds=progress.eta_seconds)
        step, total = session.execute(select(Job.step, Job.total_steps).where(Job.id == claim.job_id)).one()
        figures: JsonObject = {
            "step": step,
            "total_steps": total,
            "percent": MOST_PERCENT,
            "eta_seconds": progress.eta_seconds,
            "metrics": {},
            "phase": phase,
        }
        append_event(session, claim.job_id, "progress", figures)


def record_phase(claim: Claim, phase: str) -> None:
    """A new phase inside running."""
    with session_scope() as session:
        _hold(session, claim, phase=phase, phase_progress=None)
        append_event(session, claim.job_id, "phase", {"phase": phase})


def record_event(claim: Claim, kind: Literal["note", "warning"], data: Mapping[str, JsonValue]) -> None:
    """A note or warning of the engine."""
    with session_scope() as session:
        _hold(session, claim)
        append_event(session, claim.job_id, kind, dict(data))


def record_teacher(claim: Claim, found: Inspection | JobError) -> None:
    """A job's own inspection is the teacher's, unless the job describes the file otherwise."""
    with read_scope() as session:
        said = session.get_one(Teacher, claim.teacher_id).spec
    if TeacherSpec.model_validate(said).model_dump(mode="json") == claim.resolved_spec["teacher"]:
        record_inspection(claim.teacher_id, found)
