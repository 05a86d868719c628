"""JobService: from a checked request to a queued job, and back to those who ask."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from sqlalchemy import String, bindparam, or_, select
from sqlalchemy.orm import Session

from app.access import quotas
from app.files.artifacts.blobs import forget
from app.files.teacher_files import TeacherFile
from app.http.idempotency import Once, checked_key
from app.http.problems import invalid_body
from app.jobs import inputs, lifecycle
from app.jobs.estimate import check_deadline, check_memory
from app.jobs.removal import drop_job
from app.jobs.schemas import EvaluationReport, JobPatch, JobSpec, with_teacher_defaults
from app.messaging.dispatch import send_due
from app.models import Job, Teacher
from app.models.tenancy import ALL_TENANTS, owned_by, standing
from app.platform.db import database_now, read_scope, session_scope
from app.platform.errors import FieldProblem, InvalidBody, NotFound, ServiceError
from app.platform.ids import new_id, require_id
from app.platform.settings import get_settings
from app.teachers.inspections import inspection_of
from app.teachers.service import add_teacher, get_teacher
from dfad_core.contract.errors import ConfigError, ShapeError
from dfad_core.contract.inspection import assumed_input
from dfad_core.contract.job_result import JobResult, ReportedAccuracy
from dfad_core.contract.serialization import from_json, to_json

logger = logging.getLogger(__name__)

MAX_EVALUATIONS = 100


@dataclass(frozen=True)
class Request:
    """Who asks, what exactly, and under which idempotency key."""

    tenant_id: str
    spec: JobSpec
    asked: dict[str, Any]
    key: str | None

    def __post_init__(self) -> None:
        checked_key(self.key)

    def once(self, teacher: str) -> Once:
        """The job that this request makes, of that teacher: its id, or its file's SHA-256."""
        return Once(Job, self.tenant_id, self.key, self.asked, teacher)


def get_job(session: Session, job_id: str, tenant_id: str) -> Job:
    """The tenant's job. Raises NotFound, or InvalidBody for what is no id."""
    require_id(job_id, "job", "/job_id")
    job = session.scalar(select(Job).where(Job.id == job_id, owned_by(Job, tenant_id)))
    if job is None:
        raise NotFound("job")
    return job


_SHOWN = standing(
    select(Job, Teacher)
    .join(Teacher, Teacher.id == Job.teacher_id)
    .where(Job.id == bindparam("job_id"))
    .where(or_(Job.tenant_id == bindparam("tenant_id"), bindparam("tenant_id", type_=String) == ALL_TENANTS))
)


def get_shown(session: Session, job_id: str, tenant_id: str) -> tuple[Job, Teacher]:
    """The tenant's job and its teacher, as `get_job`: what most requests are about, built once."""
    require_id(job_id, "job", "/job_id")
    row = session.execute(_SHOWN, {"job_id": job_id, "tenant_id": tenant_id}).first()
    if row is None:
        raise NotFound("job")
    return row[0], row[1]


def submit_upload(request: Request, file: TeacherFile) -> str:
    """A job for a teacher whose bytes came with it, or before; returns the job's id."""
    once = request.once(file.stored.sha256)
    known = once.made_before()
    if known is not None:
        return known
    with once.transaction() as session:
        quotas.hold(session, request.tenant_id)
        said = request.asked.get("teacher", {})
        # The job reads its teacher; one that waits long for its turn need not hold up the inspection.
        later = timedelta(seconds=get_settings().republish_seconds)
        teacher = add_teacher(session, tenant_id=request.tenant_id, file=file, spec=said, inspect_in=later)
        job_id = _insert(session, request, request.spec, teacher.id, once)
    _submitted(job_id)
    return job_id


def submit_known(request: Request, teacher_id: str) -> str:
    """A job for a teacher that was uploaded before; returns the job's id."""
    once = request.once(teacher_id)
    known = once.made_before()
    if known is not None:
        return known
    with once.transaction() as session:
        quotas.hold(session, request.tenant_id)
        spec = resolve_known(session, request.spec, teacher_id, request.tenant_id, lock=True)
        job_id = _insert(session, request, spec, teacher_id, once)
    _submitted(job_id)
    return job_id


def _submitted(job_id: str) -> None:
    """After the commit."""
    logger.info("a job is submitted", extra={"job_id": job_id})
    send_due()


def resolve_known(
    session: Session, spec: JobSpec, teacher_id: str, tenant_id: str, *, lock: bool = False
) -> JobSpec:
    """The spec with what is known of the teacher.

    Raises NotFound, 409 for a rejected teacher, and InvalidBody where the two do not go together.
    """
    teacher, _ = get_teacher(session, teacher_id, tenant_id, lock=lock)
    if teacher.status == "rejected":
        raise ServiceError(409, "teacher_rejected", "That teacher was inspected and rejected.")
    try:
        resolved = with_teacher_defaults(spec, teacher.spec)
    except ValidationError as error:
        raise invalid_body(error) from error
    if resolved.input_shape() is None:
        _check_student_fits(resolved, teacher)
    return resolved


def _check_student_fits(spec: JobSpec, teacher: Teacher) -> None:
    """Hold the student to the input that the inspection reports, if there was one."""
    report = inspection_of(teacher)
    if report is None or report.input is None:
        return
    try:
        spec.student.check_input(report.input.shape, report.num_classes)
    except (ShapeError, ConfigError) as error:
        place = "" if isinstance(error, ShapeError) else f".{error.param}"
        about = f". {assumed_input(report.input.shape)}" if report.input_assumed else ""
        problem = FieldProblem("/student" + place.replace(".", "/"), error.message + about)
        raise InvalidBody("The student does not fit.", problem, code=error.code) from error


def _insert(session: Session, request: Request, spec: JobSpec, teacher_id: str, once: Once) -> str:
    teacher = session.get(Teacher, teacher_id)
    inspection = inspection_of(teacher) if teacher is not None else None
    check_memory(spec, inspection)
    check_deadline(spec, inspection)
    _check_quotas(session, request.tenant_id)
    job = Job(
        id=new_id("job"),
        tenant_id=request.tenant_id,
        teacher_id=teacher_id,
        spec=request.asked,
        resolved_spec=spec.resolved(),
        labels=spec.metadata,
        priority=spec.priority,
        keep=spec.keep,
        device=spec.device,
        **once.columns,
    )
    lifecycle.submit(session, job)
    inputs.attach(session, job, spec)
    return job.id


def _check_quotas(session: Session, tenant_id: str) -> None:
    """Raise ServiceError 429 for a tenant that has enough jobs waiting, or keeps more than it may."""
    quotas.check_queued(session, tenant_id)
    quotas.check_bytes(session, tenant_id)


def cancel(job_id: str, tenant_id: str) -> None:
    """Ask for the job's end; see lifecycle.request_cancel."""
    with session_scope() as session:
        get_job(session, job_id, tenant_id)
        lifecycle.request_cancel(session, job_id, tenant_id)


def pause(job_id: str, tenant_id: str) -> None:
    """Hold the job where it is; see lifecycle.request_pause."""
    with session_scope() as session:
        get_job(session, job_id, tenant_id)
        lifecycle.request_pause(session, job_id, tenant_id)


def resume(job_id: str, tenant_id: str) -> None:
    """Queue a paused job again; see lifecycle.request_resume."""
    with session_scope() as session:
        get_job(session, job_id, tenant_id)
        lifecycle.request_resume(session, job_id, tenant_id)
    send_due()


def rerun(job_id: str, tenant_id: str, key: str | None) -> str:
    """A new job with the teacher, the spec and the metadata of one that is there; returns its id."""
    checked_key(key)
    with read_scope() as session:
        before = get_job(session, job_id, tenant_id)
    once = Once(Job, tenant_id, key, {"rerun": job_id}, before.teacher_id)
    known = once.made_before()
    if known is not None:
        return known
    copied = ("tenant_id", "teacher_id", "spec", "resolved_spec", "labels", "priority", "device", "keep")
    values = {name: getattr(before, name) for name in copied}
    job = Job(id=new_id("job"), **values, **once.columns)
    with once.transaction() as session:
        quotas.hold(session, tenant_id)
        get_teacher(session, job.teacher_id, tenant_id, lock=True)  # it may have been deleted
        _check_quotas(session, tenant_id)
        lifecycle.submit(session, job)
        inputs.attach_same(session, job, job_id)
    _submitted(job.id)
    return job.id


def record_evaluation(job_id: str, tenant_id: str, report: EvaluationReport) -> None:
    """Keep accuracy that was measured elsewhere beside the result."""
    with session_scope() as session:
        job = get_job(session, job_id, tenant_id)
        if job.result is None:
            raise ServiceError(409, "no_student", f"The job is {job.status} and has no result.")
        session.refresh(job, with_for_update=True)
        before = from_json(JobResult, job.result).evaluations or ()
        if len(before) >= MAX_EVALUATIONS:
            raise ServiceError(409, "conflict", f"A job keeps {MAX_EVALUATIONS} evaluations.")
        new = ReportedAccuracy(**report.model_dump(), at=database_now(session).isoformat())
        job.result = {**(job.result or {}), "evaluations": [to_json(one) for one in (*before, new)]}


def patch(job_id: str, tenant_id: str, changes: JobPatch) -> None:
    """Replace the job's metadata, or say whether it is to be kept."""
    with session_scope() as session:
        job = get_job(session, job_id, tenant_id)
        if changes.metadata is not None:
            job.labels = changes.metadata
        if changes.keep is not None:
            lifecycle.set_keep(session, job, changes.keep)


def remove(job_id: str, tenant_id: str) -> None:
    """Delete a job that has ended, with its events, series and artifacts."""
    with session_scope() as session:
        require_id(job_id, "job", "/job_id")
        job = lifecycle.locked(session, job_id, tenant_id)  # before its artifacts, as a measurement's end
        if not lifecycle.is_terminal(job.status):
            raise ServiceError(409, "invalid_transition", f"The job is {job.status}; cancel it first.")
        blobs = drop_job(session, job_id)
    forget(blobs)
