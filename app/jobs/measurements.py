"""Accuracy on labelled images that come after a job's end.

It is asked for, claimed by a worker, and put into the job's result. A claim is a short lease that its worker
renews, as for inspections. A job has one measurement at a time; its images are deleted when it is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from app.files.artifacts.blobs import forget, remove_artifacts
from app.jobs import inputs
from app.jobs.events import append_event
from app.jobs.lifecycle import is_terminal, locked
from app.models import Artifact, Job, Teacher
from app.models.artifact import LABELLED
from app.models.clock import steady_now
from app.models.job import Measurement
from app.platform.db import database_now, read_scope, session_scope
from app.platform.errors import ServiceError
from app.platform.ids import require_id
from app.platform.settings import get_settings
from dfad_core.contract.job_result import Accuracy, JobError
from dfad_core.contract.serialization import JsonObject, to_json

MEASURED_REPORT = "report_measured.html"
"""Name of the report with the accuracy: that of the job's end stays, as its manifest names it."""


@dataclass(frozen=True)
class MeasurementClaim:
    """A worker's claim on the measurement of a job."""

    job_id: str
    tenant_id: str
    teacher_id: str
    owner: str
    resolved_spec: JsonObject
    result: JsonObject
    attempt: int


def ask(job_id: str, tenant_id: str, upload_id: str) -> None:
    """Have the accuracy of a job's teacher, student and exports measured on an upload.

    Nothing happens where these very images are waiting or were measured last. Raises NotFound, InvalidBody
    for an upload that is not there, and ServiceError 409: `invalid_transition` before the job's end,
    `no_student`, `teacher_deleted`, and `measurement_waits` while other images are measured.
    """
    require_id(job_id, "job", "/job_id")
    with session_scope() as session:
        job = locked(session, job_id, tenant_id)
        _check(session, job)
        source = inputs.uploaded(session, tenant_id, upload_id, "/upload_id")
        before = job.measurement
        if before is not None and before["status"] != "failed" and before["sha256"] == source.sha256:
            return
        if before is not None and before["status"] == "waiting":
            text = f"{before['filename']} is being measured; send other images when that is over."
            raise ServiceError(409, "measurement_waits", text)
        inputs.share(session, job, source, LABELLED, published=False)
        job.measurement = Measurement(
            status="waiting",
            filename=source.filename,
            sha256=source.sha256,
            asked_at=database_now(session).isoformat(),
            finished_at=None,
            error=None,
        )
        job.measure_after, job.measurer, job.measure_attempt = steady_now(session), None, 0


def _check(session: Session, job: Job) -> None:
    if not is_terminal(job.status):
        text = f"The job is {job.status}. Labelled images are measured after its end; those that it is to be "
        text += "measured on in the end are named in its spec, as `evaluation`."
        raise ServiceError(409, "invalid_transition", text)
    mine = (Artifact.job_id == job.id, Artifact.kind == "student", Artifact.published_at.is_not(None))
    if job.result is None or session.scalar(select(Artifact.id).where(*mine)) is None:
        raise ServiceError(409, "no_student", f"The job is {job.status} and left no student to measure.")
    if session.get_one(Teacher, job.teacher_id).deleted_at is not None:
        text = "The job's teacher was deleted, and accuracy is measured for teacher and student."
        raise ServiceError(409, "teacher_deleted", text)


def claim_measurement(owner: str) -> MeasurementClaim | None:
    """Claim the job that has waited the longest; None if none waits.

    A measurement whose workers went away `max_attempts` times has failed.
    """
    with read_scope() as session:
        if session.scalar(select(Job.id).where(Job.measure_after <= steady_now(session)).limit(1)) is None:
            return None
    with session_scope() as session:
        now = steady_now(session)
        query = select(Job).where(Job.measure_after <= now).order_by(Job.measure_after, Job.id).limit(1)
        job = session.scalar(query.with_for_update(skip_locked=True))
        if job is None:
            return None
        attempt = (job.measure_attempt or 0) + 1
        claim = claim_of(job, owner, attempt)
        guard = Job.measure_after <= now
        after = _expires(now)
        if not _change(session, claim, guard, measure_after=after, measurer=owner, measure_attempt=attempt):
            return None
    if attempt <= get_settings().max_attempts:
        return claim
    text = f"The workers that measured ended unexpectedly, {attempt - 1} times; send other images."
    fail(claim, JobError("worker_lost", text))
    return None


def claim_of(job: Job, owner: str, attempt: int) -> MeasurementClaim:
    """The claim that `owner` has on a job's measurement."""
    spec, result = dict(job.resolved_spec), dict(job.result or {})
    return MeasurementClaim(job.id, job.tenant_id, job.teacher_id, owner, spec, result, attempt)


def renew(claim: MeasurementClaim) -> bool:
    """False: it is over, its job is deleted, or it is another worker's."""
    with session_scope() as session:
        return _change(session, claim, _own(claim), measure_after=_expires(steady_now(session)))


def give_back(claim: MeasurementClaim, pause_seconds: float = 0.0) -> None:
    """Another worker may begin, after the pause."""
    with session_scope() as session:
        after, attempt = steady_now(session) + timedelta(seconds=pause_seconds), claim.attempt - 1
        _change(session, claim, _own(claim), measure_after=after, measurer=None, measure_attempt=attempt)


def finish(claim: MeasurementClaim, accuracy: Accuracy, report: Artifact) -> bool:
    """Put the accuracy into the job's result, and the report beside that of the job's end.

    It takes the place of the report of an earlier measurement. False if the claim is lost.
    """
    with session_scope() as session:
        if not _change(session, claim, _own(claim), measure_after=None, measurer=None):
            return False
        job = session.get_one(Job, claim.job_id, with_for_update=True, populate_existing=True)
        job.result = {**(job.result or {}), "accuracy": to_json(accuracy)}
        report.created_at = report.published_at = database_now(session)
        blobs = _end(
            session,
            job,
            "succeeded",
            None,
            (Artifact.kind == LABELLED) | (Artifact.filename == MEASURED_REPORT),
        )
        session.add(report)
        figures: JsonObject = {"teacher": accuracy.teacher, "student": accuracy.student}
        append_event(session, job.id, "note", {"code": "measured", **figures, "data": accuracy.data})
    forget(blobs)
    return True


def fail(claim: MeasurementClaim, error: JobError) -> bool:
    """Say why there is no accuracy; the result stays as it was. False if the claim is lost."""
    with session_scope() as session:
        if not _change(session, claim, _own(claim), measure_after=None, measurer=None):
            return False
        job = session.get_one(Job, claim.job_id, with_for_update=True, populate_existing=True)
        blobs = _end(session, job, "failed", error, Artifact.kind == LABELLED)
    forget(blobs)
    return True


def _end(
    session: Session, job: Job, status: str, error: JobError | None, which: ColumnElement[bool]
) -> list[str]:
    assert job.measurement is not None
    at = database_now(session).isoformat()
    about = None if error is None else to_json(error)
    job.measurement = {**job.measurement, "status": status, "finished_at": at, "error": about}
    return remove_artifacts(session, Artifact.job_id == job.id, which)


def _expires(now: datetime) -> datetime:
    return now + timedelta(seconds=get_settings().lease_seconds)


def _own(claim: MeasurementClaim) -> ColumnElement[bool]:
    return Job.measurer == claim.owner


def _change(session: Session, claim: MeasurementClaim, guard: ColumnElement[bool], **values: Any) -> bool:
    statement = (
        update(Job)
        .where(Job.id == claim.job_id, Job.measure_after.is_not(None), guard)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return session.execute(statement).rowcount == 1  # type: ignore[attr-defined, no-any-return]
