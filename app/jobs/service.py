"""JobService: from a checked request to a queued job, and back to those who ask."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import database_now, read_scope, session_scope
from app.dispatch import send_due
from app.errors import FieldProblem, InvalidBody, NotFound, ServiceError
from app.ids import is_id, new_id
from app.jobs import lifecycle
from app.jobs.schemas import JobSpec, with_teacher_defaults
from app.models import Artifact, Job
from app.storage import get_store
from app.teachers.service import add_teacher, get_teacher
from app.teachers.upload import Upload

IDEMPOTENCY_HOURS = 24
MAX_KEY_CHARACTERS = 255


@dataclass(frozen=True)
class Request:
    """Who asks, what exactly, and under which idempotency key."""

    tenant_id: str
    spec: JobSpec
    asked: dict[str, Any]
    key: str | None

    def __post_init__(self) -> None:
        key = self.key
        if key is not None and (not 1 <= len(key) <= MAX_KEY_CHARACTERS or not key.isprintable()):
            raise InvalidBody("The idempotency key cannot be used.", FieldProblem("/Idempotency-Key", "form"))

    def fingerprint(self, teacher: str) -> str:
        """SHA-256 of everything that makes two requests the same."""
        canonical = json.dumps([self.asked, teacher], sort_keys=True)
        return hashlib.sha256(canonical.encode()).hexdigest()


def get_job(session: Session, job_id: str, tenant_id: str) -> Job:
    """The tenant's job. Raises NotFound."""
    job = session.get(Job, job_id) if is_id(job_id, "job") else None
    if job is None or job.tenant_id != tenant_id:
        raise NotFound("job")
    return job


def submit_upload(request: Request, upload: Upload) -> str:
    """A job for a teacher that came with it; returns the job's id."""
    fingerprint = request.fingerprint(upload.sha256)
    known = _replay(request, fingerprint)
    if known is not None:
        return known
    artifact_id = new_id("art")
    stored = get_store().put(artifact_id, upload.pieces())
    try:
        with session_scope() as session:
            teacher = add_teacher(
                session,
                tenant_id=request.tenant_id,
                artifact_id=artifact_id,
                stored=stored,
                filename=upload.filename,
                spec=request.asked.get("teacher", {}),
            )
            job_id = _insert(session, request, request.spec, teacher.id, fingerprint)
    except IntegrityError as error:
        get_store().delete(artifact_id)
        raise _in_flight() from error
    except BaseException:
        get_store().delete(artifact_id)
        raise
    send_due()
    return job_id


def submit_known(request: Request, teacher_id: str) -> str:
    """A job for a teacher that was uploaded before; returns the job's id."""
    fingerprint = request.fingerprint(teacher_id)
    known = _replay(request, fingerprint)
    if known is not None:
        return known
    try:
        with session_scope() as session:
            spec = resolve_known(session, request.spec, teacher_id, request.tenant_id)
            job_id = _insert(session, request, spec, teacher_id, fingerprint)
    except IntegrityError as error:
        raise _in_flight() from error
    send_due()
    return job_id


def resolve_known(session: Session, spec: JobSpec, teacher_id: str, tenant_id: str) -> JobSpec:
    """The spec with what is known of the teacher. Raises NotFound, or 409 for a rejected one."""
    teacher, _ = get_teacher(session, teacher_id, tenant_id)
    if teacher.status == "rejected":
        raise ServiceError(409, "teacher_rejected", "That teacher was inspected and rejected.")
    return with_teacher_defaults(spec, teacher.spec)


def _insert(session: Session, request: Request, spec: JobSpec, teacher_id: str, fingerprint: str) -> str:
    job = Job(
        id=new_id("job"),
        tenant_id=request.tenant_id,
        teacher_id=teacher_id,
        spec=request.asked,
        resolved_spec=spec.resolved(),
        labels=spec.metadata,
        priority=spec.priority,
        idempotency_key=request.key,
        idempotency_hash=fingerprint if request.key else None,
    )
    lifecycle.submit(session, job)
    return job.id


def _replay(request: Request, fingerprint: str) -> str | None:
    """The job that this key made before. Raises 422 if it was another request's."""
    if request.key is None:
        return None
    mine = (Job.tenant_id == request.tenant_id, Job.idempotency_key == request.key)
    with session_scope() as session:
        before = database_now(session) - timedelta(hours=IDEMPOTENCY_HOURS)
        session.execute(update(Job).where(*mine, Job.created_at < before).values(idempotency_key=None))
        row = session.execute(select(Job.id, Job.idempotency_hash).where(*mine)).first()
    if row is None:
        return None
    if row.idempotency_hash != fingerprint:
        raise ServiceError(422, "idempotency_mismatch", "That key was used with another payload.")
    return str(row.id)


def _in_flight() -> ServiceError:
    return ServiceError(409, "idempotency_in_flight", "The first request with that key is being answered.")


def cancel(job_id: str, tenant_id: str) -> None:
    """Ask for the job's end; see lifecycle.request_cancel."""
    with session_scope() as session:
        get_job(session, job_id, tenant_id)
        lifecycle.request_cancel(session, job_id, tenant_id)


def relabel(job_id: str, tenant_id: str, labels: dict[str, str]) -> None:
    """Replace the job's metadata."""
    with session_scope() as session:
        get_job(session, job_id, tenant_id).labels = labels


def remove(job_id: str, tenant_id: str) -> None:
    """Delete a job that has ended, with its events, series and artifacts."""
    with session_scope() as session:
        job = get_job(session, job_id, tenant_id)
        if not lifecycle.is_terminal(job.status):
            raise ServiceError(409, "invalid_transition", f"The job is {job.status}; cancel it first.")
        artifacts = list(session.scalars(select(Artifact.id).where(Artifact.job_id == job_id)))
        session.execute(delete(Job).where(Job.id == job_id))
    for artifact_id in artifacts:
        get_store().delete(artifact_id)


def progress_mark(job_id: str) -> tuple[str, int] | None:
    """Status and newest event number: what a waiting client compares."""
    with read_scope() as session:
        row = session.execute(select(Job.status, Job.last_seq).where(Job.id == job_id)).first()
    return None if row is None else (row.status, row.last_seq)
