"""The pages. What they show is what the contract gives; what they do, they do through the same services."""

from __future__ import annotations

import json
import shlex
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db import read_scope
from app.errors import ServiceError
from app.jobs import service
from app.jobs.event_stream import events_after
from app.jobs.filters import labelled
from app.jobs.schemas import EXPORTS
from app.jobs.states import Status
from app.jobs.views import JobView, job_views
from app.models import Artifact, Job, JobEvent, Teacher
from app.pagination import page as page_of
from app.parameters import JobId, TeacherId
from app.teachers.service import get_teacher
from app.teachers.views import teacher_view
from app.web.rendering import page
from dfad_core.catalog import ARCHITECTURES, METHODS

router = APIRouter(include_in_schema=False)

ROWS, EVENTS, MOST_COMPARED = 25, 50, 6
ACTIONS = {"cancel": service.cancel, "pause": service.pause, "resume": service.resume}


@router.get("/")
def jobs_page(request: Request, status: str = "", label: str = "", after: str | None = None) -> Response:
    """The tenant's jobs."""
    return page(request, "jobs.html", **_listed(request, status, label, after))


@router.get("/ui/jobs")
def jobs_rows(request: Request, status: str = "", label: str = "", after: str | None = None) -> Response:
    """The list alone, to renew it."""
    return page(request, "_jobs.html", **_listed(request, status, label, after))


def _listed(request: Request, status: str, label: str, after: str | None) -> dict[str, Any]:
    tenant_id = request.state.tenant_id
    query = select(Job, Teacher).join(Teacher, Teacher.id == Job.teacher_id)
    query = query.where(Job.tenant_id == tenant_id)
    if status in {s.value for s in Status}:
        query = query.where(Job.status == status)
    with read_scope() as session:
        name, equals, value = label.partition("=")
        if equals:
            query = query.where(labelled(session, name.strip(), value.strip()))
        rows, more = page_of(session, query, Job.id, prefix="job", after=after or None, limit=ROWS)
        jobs = job_views(session, [(job, teacher) for job, teacher in rows])
    return {
        "jobs": jobs, "more": more, "status": status, "label": label, "after": after or "",
        "statuses": [s.value for s in Status],
    }  # fmt: skip


@router.get("/ui/new")
def new_page(request: Request) -> Response:
    """Where a job begins."""
    return page(request, "new.html")


@router.get("/ui/teachers/{teacher_id}")
def teacher_part(request: Request, teacher_id: TeacherId) -> Response:
    """What the inspection found, and the form for a student; renews itself until there is something."""
    with read_scope() as session:
        teacher = teacher_view(*get_teacher(session, teacher_id, request.state.tenant_id))
    found = teacher.inspection or {}
    shape = (found.get("input") or {}).get("shape")
    return page(
        request,
        "_teacher.html",
        teacher=teacher,
        found=found,
        students=_students(shape),
        exports=EXPORTS[1:],
        titles={name: method.title for name, method in METHODS.items()},
    )


def _students(shape: list[int] | None) -> list[Any]:
    """Architectures of the catalogue that take such images."""
    if shape is None:
        return []
    found = []
    for entry in ARCHITECTURES.values():
        try:
            entry.check_input((shape[0], shape[1], shape[2]))
        except ValueError:
            continue
        found.append(entry)
    return found


@router.get("/ui/compare")
def compare_page(request: Request, job: Annotated[list[str] | None, Query()] = None) -> Response:
    """Curves over each other, and what the settings differ in."""
    with read_scope() as session:
        wanted = list(dict.fromkeys(job or []))[:MOST_COMPARED]
        jobs = [_job(session, one, request.state.tenant_id) for one in wanted]
    flat = [_flat(one.resolved_spec) for one in jobs]
    names = sorted(set().union(*flat))
    differing = {
        name: [settings.get(name) for settings in flat]
        for name in names
        if len({json.dumps(settings.get(name)) for settings in flat}) > 1
    }
    return page(request, "compare.html", jobs=jobs, differing=differing)


def _flat(value: Any, name: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name: value}
    found: dict[str, Any] = {}
    for key, inner in value.items():
        found |= _flat(inner, f"{name}.{key}" if name else key)
    return found


@router.get("/ui/jobs/{job_id}")
def job_page(request: Request, job_id: JobId) -> Response:
    """One job, everything."""
    return page(request, "job.html", **_shown(request, job_id))


@router.get("/ui/jobs/{job_id}/live")
def job_part(request: Request, job_id: JobId) -> Response:
    """The part of a job's page that renews itself."""
    return page(request, "_job.html", **_shown(request, job_id))


def _shown(request: Request, job_id: str) -> dict[str, Any]:
    with read_scope() as session:
        job = _job(session, job_id, request.state.tenant_id)
        query = select(Artifact).where(Artifact.job_id == job_id, Artifact.kind == "samples")
        query = query.where(Artifact.published_at.is_not(None)).order_by(Artifact.created_at, Artifact.id)
        samples = [artifact.id for artifact in session.scalars(query)]
        told = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.type != "progress")
        states = list(session.scalars(told.order_by(JobEvent.seq).limit(200)))
    last = max((event.seq for event in states), default=0)
    events, _ = events_after(job_id, max(0, last - EVENTS), EVENTS)
    return {
        "job": job, "samples": samples, "events": events, "states": states,
        "commands": _commands(str(request.base_url).rstrip("/"), job),
    }  # fmt: skip


def _job(session: Session, job_id: str, tenant_id: str) -> JobView:
    job = service.get_job(session, job_id, tenant_id)
    teacher = session.get(Teacher, job.teacher_id)
    assert teacher is not None, "a job's teacher stays as long as the job"
    return job_views(session, [(job, teacher)])[0]


def _commands(url: str, job: JobView) -> dict[str, str]:
    """The same job by other means."""
    spec = {name: value for name, value in job.spec.items() if name != "teacher"}
    body = json.dumps({**spec, "teacher_id": job.teacher["id"]})
    return {
        "curl": f"curl -H 'Content-Type: application/json' -H \"Authorization: Bearer $DFAD_API_KEY\" \\\n"
        f"  -d {shlex.quote(body)} {url}/jobs",
        "dfad": f"DFAD_BASE_URL={url} dfad rerun {job.id}",
        "python": "from dfad_client import Client\n\n"
        f"with Client({url!r}) as dfad:\n    job = dfad.jobs.rerun({job.id!r})\n    dfad.jobs.wait(job.id)",
    }


@router.post("/ui/jobs/{job_id}/rerun")
def rerun(request: Request, job_id: JobId) -> Response:
    """The job once more; shows the new one."""
    try:
        made = service.rerun(job_id, request.state.tenant_id, None)
    except ServiceError as refusal:
        return _refused(request, job_id, refusal)
    return RedirectResponse(f"/ui/jobs/{made}", 303)


@router.post("/ui/jobs/{job_id}/delete")
def delete(request: Request, job_id: JobId) -> Response:
    """Forget the job."""
    try:
        service.remove(job_id, request.state.tenant_id)
    except ServiceError as refusal:
        return _refused(request, job_id, refusal)
    return RedirectResponse("/", 303)


@router.post("/ui/jobs/{job_id}/{action}")
def act(request: Request, job_id: JobId, action: str) -> Response:
    """Cancel, pause or resume."""
    if action not in ACTIONS:
        raise ServiceError(404, "not_found", "There is no such action.")
    try:
        ACTIONS[action](job_id, request.state.tenant_id)
    except ServiceError as refusal:
        return _refused(request, job_id, refusal)
    return RedirectResponse(f"/ui/jobs/{job_id}", 303)


def _refused(request: Request, job_id: str, refusal: ServiceError) -> Response:
    return page(request, "refused.html", http_status=refusal.status, job_id=job_id, problem=refusal.detail)
