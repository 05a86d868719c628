"""How teachers look to clients."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from app.jobs.views import JobError
from app.models import Artifact, Teacher


class TeacherView(BaseModel):
    """An uploaded teacher and what its inspection found."""

    id: str
    object: str = "teacher"
    status: Literal["inspecting", "ready", "rejected"]
    filename: str
    bytes: int
    sha256: str
    spec: dict[str, Any]
    inspection: dict[str, Any] | None
    error: JobError | None
    created_at: datetime


class TeacherList(BaseModel):
    """A page of teachers, newest first."""

    data: list[TeacherView]
    has_more: bool
    first_id: str | None
    last_id: str | None


def teacher_view(teacher: Teacher, artifact: Artifact) -> TeacherView:
    """The view of one row."""
    return TeacherView.model_validate(
        {
            "id": teacher.id,
            "status": teacher.status,
            "filename": teacher.filename,
            "bytes": artifact.bytes,
            "sha256": artifact.sha256,
            "spec": teacher.spec,
            "inspection": teacher.inspection,
            "error": teacher.error,
            "created_at": teacher.created_at,
        }
    )
