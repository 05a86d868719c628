"""Keeping and finding teachers."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from app.access import quotas
from app.files.artifacts.blobs import forget, remove_artifacts, same_bytes
from app.files.teacher_files import TeacherFile
from app.http.idempotency import Once
from app.models import Artifact, Job, Teacher
from app.models.clock import steady_now
from app.models.job_states import TERMINAL
from app.models.tenancy import owned_by
from app.platform.db import database_now, session_scope
from app.platform.errors import NotFound, ServiceError
from app.platform.ids import new_id, require_id


def add_teacher(
    session: Session,
    *,
    tenant_id: str,
    file: TeacherFile,
    spec: dict[str, Any],
    once: Once | None = None,
    inspect_in: timedelta = timedelta(),
) -> Teacher:
    """Insert a teacher whose bytes are kept already; it waits to be inspected, for `inspect_in` at the least.

    Bytes that the tenant has already are shared. Raises ServiceError 429 past the tenant's quota, and
    NotFound for bytes of an upload that was deleted meanwhile.
    """
    now = database_now(session)
    stored = file.stored
    shared = same_bytes(session, tenant_id, stored.sha256, stored.bytes)
    if shared is None and file.from_upload:
        # Asked again: of several rows that had the bytes, the one that was waited for may have been deleted.
        shared = same_bytes(session, tenant_id, stored.sha256, stored.bytes)
        if shared is None:
            raise NotFound("upload")
    if shared is None:
        quotas.check_bytes(session, tenant_id, stored.bytes)
    artifact = Artifact(
        id=(artifact_id := file.blob_id if shared is None else new_id("art")),
        **({} if shared is None else shared._asdict()),
        tenant_id=tenant_id,
        kind="teacher",
        filename=file.filename,
        bytes=stored.bytes,
        sha256=stored.sha256,
        created_at=now,
        published_at=now,
    )
    teacher = Teacher(
        id=new_id("tch"),
        tenant_id=tenant_id,
        artifact_id=artifact_id,
        filename=file.filename,
        status="inspecting",
        spec=spec,
        inspect_after=steady_now(session) + inspect_in,
        **({} if once is None else once.columns),
        created_at=now,
    )
    session.add_all([artifact, teacher])
    session.flush()
    return teacher


def get_teacher(
    session: Session, teacher_id: str, tenant_id: str, *, lock: bool = False
) -> tuple[Teacher, Artifact]:
    """The tenant's teacher and its file; with `lock` nobody deletes it before the transaction ends.

    Raises NotFound, or InvalidBody for what is no id.
    """
    require_id(teacher_id, "tch", "/teacher_id")
    query = select(Teacher, Artifact).join(Artifact, Artifact.id == Teacher.artifact_id)
    if lock:
        query = query.with_for_update(of=Teacher)
    row = session.execute(query.where(Teacher.id == teacher_id, owned_by(Teacher, tenant_id))).first()
    if row is None:
        raise NotFound("teacher")
    return row[0], row[1]


def remove_teacher(teacher_id: str, tenant_id: str) -> None:
    """Delete the teacher's bytes; jobs that it taught still tell of it. 409 while a job needs it."""
    with session_scope() as session:
        teacher, _ = get_teacher(session, teacher_id, tenant_id, lock=True)
        needed = exists().where(Job.teacher_id == teacher_id, Job.status.not_in(TERMINAL))
        if session.scalar(select(needed)):
            raise ServiceError(409, "teacher_in_use", "A job that has not ended needs that teacher.")
        blobs = drop_teacher(session, teacher)
    forget(blobs)


def drop_teacher(session: Session, teacher: Teacher) -> list[str]:
    """Mark it deleted and delete its artifact; the blobs to forget after the commit."""
    teacher.deleted_at = database_now(session)
    teacher.idempotency_key = None
    return remove_artifacts(session, Artifact.id == teacher.artifact_id)
