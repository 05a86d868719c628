"""Where a job begins."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.http.parameters import TeacherId
from app.platform.db import read_scope
from app.platform.settings import get_settings
from app.teachers.queries import newest_ready
from app.teachers.service import get_teacher
from app.teachers.views import teacher_views
from app.web.offers import offers
from app.web.rendering import page
from dfad_core.contract.architectures import ARCHITECTURES, Architecture
from dfad_core.contract.config import BudgetConfig
from dfad_core.contract.formats import EXPORTS, FORMATS, accepted

router = APIRouter(include_in_schema=False)

KNOWN_TEACHERS = 5


@router.get("/ui/new")
def new_page(request: Request, teacher: str | None = None) -> Response:
    """A teacher to upload, or with `teacher` one that is there, and all that follows from it."""
    about = _about(request, teacher) if teacher else {}
    with read_scope() as session:
        known = list(session.scalars(newest_ready(request.state.tenant_id, KNOWN_TEACHERS)))
    limit = get_settings().max_upload_bytes
    return page(
        request,
        "new.html",
        known=known,
        architectures=ARCHITECTURES,
        formats=accepted(),
        limit=limit,
        **about,
    )


@router.get("/ui/teachers/{teacher_id}")
def teacher_part(request: Request, teacher_id: TeacherId) -> Response:
    """What the inspection found, and the form for a job; renews itself until there is something."""
    return page(request, "_teacher.html", **_about(request, teacher_id))


def _about(request: Request, teacher_id: str) -> dict[str, Any]:
    with read_scope() as session:
        teacher = teacher_views(session, [get_teacher(session, teacher_id, request.state.tenant_id)])[0]
    inspection = teacher.inspection
    source = inspection.input if inspection is not None else None
    return {
        "teacher": teacher,
        "found": inspection,
        "students": [] if source is None else _students(source.shape),
        "offers": offers(inspection),
        # The page offers students by name or cost alone.
        "exports": [name for name in EXPORTS if FORMATS[name].student is None],
        "steps": BudgetConfig().steps,
    }


def _students(shape: tuple[int, int, int]) -> list[Architecture]:
    """Architectures of the catalogue that take images of `shape` (C, H, W)."""
    fitting = []
    for entry in ARCHITECTURES.values():
        try:
            entry.check_input(shape)
        except ValueError:
            continue
        fitting.append(entry)
    return fitting
