"""Keeping and finding teachers."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import database_now
from app.errors import NotFound
from app.ids import new_id, require_id
from app.models import Artifact, Teacher
from app.storage import Stored


def add_teacher(
    session: Session,
    *,
    tenant_id: str,
    artifact_id: str,
    stored: Stored,
    filename: str,
    spec: dict[str, Any],
    idempotency_key: str | None = None,
    idempotency_hash: str | None = None,
) -> Teacher:
    """Insert an uploaded teacher whose bytes are already kept; it waits to be inspected."""
    now = database_now(session)
    artifact = Artifact(
        id=artifact_id,
        tenant_id=tenant_id,
        kind="teacher",
        filename=filename,
        bytes=stored.bytes,
        sha256=stored.sha256,
        created_at=now,
        published_at=now,
    )
    teacher = Teacher(
        id=new_id("tch"),
        tenant_id=tenant_id,
        artifact_id=artifact_id,
        filename=filename,
        status="inspecting",
        spec=spec,
        idempotency_key=idempotency_key,
        idempotency_hash=idempotency_hash,
        created_at=now,
    )
    session.add_all([artifact, teacher])
    session.flush()
    return teacher


def get_teacher(session: Session, teacher_id: str, tenant_id: str) -> tuple[Teacher, Artifact]:
    """The tenant's teacher and its file. Raises NotFound, or InvalidBody for what is no id."""
    require_id(teacher_id, "tch", "/teacher_id")
    query = select(Teacher, Artifact).join(Artifact, Artifact.id == Teacher.artifact_id)
    row = session.execute(query.where(Teacher.id == teacher_id, Teacher.tenant_id == tenant_id)).first()
    if row is None:
        raise NotFound("teacher")
    return row[0], row[1]
