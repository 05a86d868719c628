"""`/jobs/{id}/…`: the job's log, series, pictures and files."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic_core import to_json
from sqlalchemy.orm import Session

from app.files.artifacts.endpoints import PARTS_OF_BYTES, bytes_as
from app.files.artifacts.serving import serve
from app.files.artifacts.views import ArtifactList, artifact_view
from app.http.parameters import JobId
from app.http.reading import run_read
from app.jobs import service
from app.jobs.event_stream import EventStream, check_room
from app.jobs.lifecycle import is_terminal
from app.jobs.news import events_after, get_news
from app.jobs.queries import published
from app.jobs.series import readings, with_peaks
from app.jobs.views import EventList, MetricsView
from app.platform.db import read_scope
from app.platform.errors import FieldProblem, InvalidBody, ServiceError
from dfad_core.contract.formats import DEFAULT, FORMATS, STUDENT_FORMATS

router = APIRouter(prefix="/jobs/{job_id}", tags=["jobs"])

STUDENT_KINDS = {name: FORMATS[name].artifact_kind for name in STUDENT_FORMATS}


def _owned(request: Request, job_id: str) -> None:
    with read_scope() as session:
        service.get_job(session, job_id, request.state.tenant_id)


@router.get(
    "/events",
    response_model=EventList,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def list_events(
    request: Request,
    job_id: JobId,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response | EventList:
    """The log past `after`; with `Accept: text/event-stream` a live stream until the job ends.

    A stream ends within seconds after its key is revoked or expires.
    """
    wants_stream = "text/event-stream" in request.headers.get("accept", "")
    if wants_stream:
        check_room(request.state.principal)  # before anything is read for it
    if not (wants_stream and get_news().knows(job_id, request.state.tenant_id)):
        await run_read(_owned, request, job_id)
    if wants_stream:
        return EventStream(job_id, _resume_from(last_event_id, after), request.state.principal)
    events, _ = await run_read(events_after, job_id, after, limit + 1)
    shown = events[:limit]
    last = shown[-1].seq if shown else after
    return EventList(data=shown, has_more=len(events) > limit, last_seq=last)


def _resume_from(last_event_id: str | None, after: int) -> int:
    if last_event_id is None:
        return after
    if not (last_event_id.isascii() and last_event_id.isdigit() and len(last_event_id) < 16):
        raise InvalidBody("Last-Event-ID is not a number.", FieldProblem("/Last-Event-ID", "not a number"))
    return int(last_event_id)


@router.get("/metrics", response_model=MetricsView)
def list_metrics(
    request: Request,
    job_id: JobId,
    points: Annotated[int | None, Query(ge=2, le=10_000)] = None,
    peaks: Annotated[bool, Query(description="Keep the lowest and highest values.")] = False,
) -> Response:
    """The series for plots. `points` thins them out evenly, keeping the last.

    With `peaks` what is left out is not lost: each two points are the ends of a stretch, with the lowest and
    the highest value that every series has in it.
    """
    with read_scope() as session:
        service.get_job(session, job_id, request.state.tenant_id)
        if peaks and points is not None:
            data = with_peaks(session, job_id, points)
        else:
            data = readings(session, job_id, points)
    return Response(to_json({"data": data}, inf_nan_mode="null"), media_type="application/json")


def _published(session: Session, job_id: str, kind: str | None = None) -> ArtifactList:
    return ArtifactList(data=[artifact_view(a) for a in session.scalars(published(job_id, kind))])


@router.get("/samples")
def list_samples(request: Request, job_id: JobId) -> ArtifactList:
    """Pictures of generated images over time (PNG), oldest first."""
    with read_scope() as session:
        service.get_job(session, job_id, request.state.tenant_id)
        return _published(session, job_id, "samples")


@router.get("/artifacts")
def list_artifacts(request: Request, job_id: JobId) -> ArtifactList:
    """All artifacts of the job, oldest first."""
    with read_scope() as session:
        service.get_job(session, job_id, request.state.tenant_id)
        return _published(session, job_id)


@router.get("/student", response_class=Response, responses=bytes_as(), openapi_extra=PARTS_OF_BYTES)
def download_student(request: Request, job_id: JobId, format: str = DEFAULT) -> Response:
    """The student's bytes; a partial one says so in the header `DFAD-Partial: true`."""
    if format not in STUDENT_KINDS:
        problem = FieldProblem("/format", f"one of {', '.join(STUDENT_KINDS)}")
        raise InvalidBody("The student is not kept in that format.", problem, code="format_unavailable")
    with read_scope() as session:
        job = service.get_job(session, job_id, request.state.tenant_id)
        artifact = session.scalars(published(job_id, STUDENT_KINDS[format])).first()
    if artifact is None:
        if is_terminal(job.status):
            exports: Any = job.resolved_spec["exports"]
            if format not in exports:
                problem = FieldProblem("/format", "name it in the job's `exports`")
                raise InvalidBody(
                    "The student is not kept in that format.", problem, code="format_unavailable"
                )
            raise ServiceError(409, "no_student", f"The job is {job.status} and left no {format} student.")
        raise ServiceError(409, "not_ready", f"The job is {job.status}; its student is not there yet.")
    return serve(request, artifact)
