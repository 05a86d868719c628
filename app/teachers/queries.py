"""Which rows of teachers the API and the pages read."""

from __future__ import annotations

from sqlalchemy import Select, select

from app.models import Artifact, Teacher
from app.models.tenancy import owned_by


def teachers_of(tenant_id: str) -> Select[Teacher, Artifact]:
    """The tenant's teachers with their files, without an order."""
    query = select(Teacher, Artifact).join(Artifact, Artifact.id == Teacher.artifact_id)
    return query.where(owned_by(Teacher, tenant_id))


def newest_ready(tenant_id: str, most: int) -> Select[Teacher]:
    """The tenant's teachers that jobs can have, newest first."""
    ready = select(Teacher).where(owned_by(Teacher, tenant_id), Teacher.status == "ready")
    return ready.order_by(Teacher.id.desc()).limit(most)
