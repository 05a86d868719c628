"""What the buttons do, for one job and for several, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from app.http.parameters import JobId
from app.jobs import service
from app.jobs.views import JobView
from app.platform.db import read_scope
from app.platform.errors import ServiceError
from app.web.job_page import shown
from app.web.rendering import page
from app.web.told_cookie import tell

router = APIRouter(include_in_schema=False)

MOST_AT_ONCE = 100
ACTIONS: dict[str, Callable[[str, str], object]] = {
    "cancel": service.cancel,
    "pause": service.pause,
    "resume": service.resume,
    "rerun": lambda job_id, tenant_id: service.rerun(job_id, tenant_id, None),
    "delete": service.remove,
}
JobIds = list[str]


@router.get("/ui/delete")
def ask_delete(request: Request, job: Annotated[JobIds | None, Query()] = None) -> Response:
    """Ask whether the jobs are really to go."""
    jobs: list[JobView] = []
    with read_scope() as session:
        jobs = [shown(session, one, request.state.tenant_id) for one in _chosen(job)]
    return page(request, "delete.html", jobs=jobs)


@router.post("/ui/act")
def act_on_several(
    request: Request, action: Annotated[str, Form()] = "", job: Annotated[JobIds | None, Form()] = None
) -> Response:
    """The same for all ticked jobs; what is refused of one does not keep it from the others."""
    if action not in ACTIONS:
        raise ServiceError(404, "not_found", "There is no such action.")
    changed, refused = [], []
    for one in _chosen(job):
        try:
            ACTIONS[action](one, request.state.tenant_id)
            changed.append(one)
        except ServiceError as refusal:
            refused.append(f"…{one[-8:]}: {refusal.detail}")
    if not job:
        refused.append("No job was ticked.")
    request.state.subject_ids = changed
    answer = RedirectResponse("/", 303)
    tell(answer, action, len(changed), refused)
    return answer


def _chosen(job: JobIds | None) -> JobIds:
    return list(dict.fromkeys(job or []))[:MOST_AT_ONCE]


@router.post("/ui/jobs/{job_id}/{action}")
def act(request: Request, job_id: JobId, action: str, back: str = "") -> Response:
    """Do it, and show the job: the new one after `rerun`; with `back=list`, and after `delete`, the list."""
    if action not in ACTIONS:
        raise ServiceError(404, "not_found", "There is no such action.")
    try:
        made = ACTIONS[action](job_id, request.state.tenant_id)
    except ServiceError as refusal:
        about = {"problem": refusal.detail, "back": f"/ui/jobs/{job_id}", "where": "job"}
        return page(request, "refused.html", http_status=refusal.status, **about)
    at = "/" if action == "delete" or back == "list" else f"/ui/jobs/{made or job_id}"
    answer = RedirectResponse(at, 303)
    tell(answer, action, 1, [])
    return answer
