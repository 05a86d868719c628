"""The first page: the tenant's jobs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from app.http.pagination import page as page_of
from app.jobs.filters import labelled
from app.jobs.queries import jobs_of
from app.jobs.views import job_views
from app.models import Job
from app.models.job_states import Status
from app.platform.db import read_scope
from app.platform.errors import InvalidBody
from app.web.rendering import page

router = APIRouter(include_in_schema=False)

ROWS = 25
FORM = "Write it as name=value."


@router.get("/")
def jobs_page(request: Request, status: str = "", label: str = "", after: str | None = None) -> Response:
    """The tenant's jobs."""
    return page(request, "jobs.html", **_listed(request, status, label, after))


@router.get("/ui/jobs")
def jobs_rows(request: Request, status: str = "", label: str = "", after: str | None = None) -> Response:
    """The list alone, to renew it."""
    return page(request, "_jobs.html", **_listed(request, status, label, after))


def _listed(request: Request, status: str, label: str, after: str | None) -> dict[str, Any]:
    known = status in {s.value for s in Status}
    query = jobs_of(request.state.tenant_id, status if known else None)
    problem = None
    with read_scope() as session:
        name, equals, value = label.partition("=")
        try:
            if equals:
                query = query.where(labelled(session, name.strip(), value.strip()))
            elif label:
                problem = FORM
        except InvalidBody as refused:
            problem = refused.errors[0].detail if refused.errors else refused.detail
        rows, more = page_of(session, query, Job.id, prefix="job", after=after or None, limit=ROWS)
        jobs = job_views(session, [(job, teacher) for job, teacher in rows])
    return {
        "jobs": jobs, "more": more, "status": status, "label": label, "after": after or "",
        "statuses": [s.value for s in Status], "problem": problem,
    }  # fmt: skip
