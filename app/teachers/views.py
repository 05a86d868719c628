"""How teachers look to clients."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel
from sqlalchemy.orm import Session

from app.http.pagination import Page
from app.models import Artifact, Teacher
from app.teachers.inspections import inspection_of
from app.workers.waiting_for import WaitingFor, waiting_teachers
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import JobError
from dfad_core.contract.serialization import from_json


class TeacherView(BaseModel):
    """An uploaded teacher and the report of its inspection."""

    id: str
    object: str = "teacher"
    tenant_id: str
    status: Literal["inspecting", "ready", "rejected"]
    waiting_for: WaitingFor | None
    filename: str
    bytes: int
    sha256: str
    spec: dict[str, Any]
    inspection: Inspection | None
    error: JobError | None
    created_at: datetime


class TeacherList(Page[TeacherView]):
    """A page of teachers, newest first."""


def teacher_views(session: Session, rows: Sequence[tuple[Teacher, Artifact]]) -> list[TeacherView]:
    """The views of teachers with their files."""
    waiting = waiting_teachers(session, [teacher for teacher, _ in rows if teacher.status == "inspecting"])
    return [_view(teacher, artifact, waiting.get(teacher.id)) for teacher, artifact in rows]


def _view(teacher: Teacher, artifact: Artifact, waiting_for: WaitingFor | None) -> TeacherView:
    return TeacherView.model_validate(
        {
            "id": teacher.id,
            "tenant_id": teacher.tenant_id,
            "status": teacher.status,
            "waiting_for": waiting_for,
            "filename": teacher.filename,
            "bytes": artifact.bytes,
            "sha256": artifact.sha256,
            "spec": teacher.spec,
            "inspection": inspection_of(teacher),
            "error": from_json(JobError, teacher.error) if teacher.error else None,
            "created_at": teacher.created_at,
        }
    )
