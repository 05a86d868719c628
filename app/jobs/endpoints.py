"""`/jobs`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from app.access import quotas
from app.access.still_open import check_open
from app.files.teacher_upload import read_upload
from app.files.uploads.service import completed_teacher
from app.http.fields import MAX_LABELS
from app.http.idempotency import checked_key
from app.http.json_body import JsonBody, content_type, parse_json, parse_model, read_model, unsupported
from app.http.openapi import multipart_body
from app.http.pagination import After, Limit, page
from app.http.parameters import IdempotencyKey, JobId, Prefer
from app.http.reading import run_parse, run_read
from app.http.waiting import wanted_wait
from app.jobs import inputs, measurements, service
from app.jobs.estimate import Estimate, check_deadline, check_memory, estimate
from app.jobs.filters import labelled
from app.jobs.lifecycle import is_terminal
from app.jobs.news import Mark, progress_mark, wait_for
from app.jobs.queries import jobs_of
from app.jobs.schemas import EvaluationReport, JobPatch, JobRequest, JobSpec, MeasurementRequest
from app.jobs.views import JobList, JobView, job_views
from app.models import Job, Teacher
from app.models.job_states import Status
from app.platform.db import read_scope
from app.platform.errors import FieldProblem, InvalidBody
from app.platform.ids import require_id
from app.teachers.inspections import inspection_of
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.serialization import JsonObject

JOB_EXAMPLE: JsonObject = {
    "teacher_id": f"tch_{'0' * 32}",
    "student": {"architecture": "resnet8", "args": {"width": 8}},
    "budget": {"steps": 2000},
    "exports": ["safetensors", "onnx"],
    "metadata": {"team": "vision"},
}
JOB_BODY = multipart_body(JobSpec, spec_required=True, or_json=JobRequest, example=JOB_EXAMPLE)
router = APIRouter(prefix="/jobs", tags=["jobs"])

SOURCES = ("teacher_id", "upload_id")
STATUSES = Query(description="Only jobs in this state.")
METADATA_FILTER = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "description": "Only jobs with this metadata: `metadata[key]=value`.",
            "style": "deepObject",
            "explode": True,
            # Of any type: in a query every value is text.
            "schema": {"type": "object", "additionalProperties": True},
        }
    ]
}


class Validation(BaseModel):
    """The answer of a dry run: the request would be accepted."""

    valid: bool
    resolved_spec: dict[str, Any]
    estimate: Estimate


def _view(job_id: str, tenant_id: str) -> JobView:
    with read_scope() as session:
        return job_views(session, [service.get_shown(session, job_id, tenant_id)])[0]


def _asked(body: bytes) -> tuple[JobSpec, dict[str, Any], str]:
    """A JSON body: the spec, the spec as sent, and the id of a teacher or of an upload."""
    value = parse_json(body)
    if not _names_teacher(value):
        problem = FieldProblem("/teacher_id", "missing")
        text = "Send multipart/form-data with a teacher part, or name a teacher_id or an upload_id."
        raise InvalidBody(text, problem, code="missing_teacher")
    spec, value = parse_model(body, JobRequest)
    if spec.teacher_id is not None and spec.upload_id is not None:
        problem = FieldProblem("/upload_id", "there is a teacher_id already")
        raise InvalidBody("Name a teacher or an upload.", problem)
    asked = {k: v for k, v in value.items() if k not in SOURCES}
    known = {name: getattr(spec, name) for name in spec.model_fields_set & set(JobSpec.model_fields)}
    return JobSpec(**known), asked, str(spec.teacher_id or spec.upload_id)


def _names_teacher(value: dict[str, Any]) -> bool:
    return any(value.get(name) is not None for name in SOURCES)


@router.post("", status_code=201, openapi_extra=JOB_BODY)
async def create_job(
    request: Request, response: Response, idempotency_key: IdempotencyKey = None, prefer: Prefer = None
) -> JobView:
    """Queue a distillation: a teacher file with a spec, or a spec that names a teacher."""
    tenant_id = request.state.tenant_id
    match content_type(request):
        case "multipart/form-data":
            async with read_upload(request, spec_required=True) as upload:
                spec, asked = await read_model(upload.spec, JobSpec)
                ask = service.Request(tenant_id, spec, asked, idempotency_key)
                job_id = await run_in_threadpool(service.submit_upload, ask, upload)
        case "application/json":
            spec, asked, source_id = await run_parse(_asked, await request.body())
            ask = service.Request(tenant_id, spec, asked, idempotency_key)
            job_id = await run_in_threadpool(_submit_known, ask, source_id)
        case _:
            raise unsupported("multipart/form-data, application/json")
    await wait_for(job_id, _ended, wanted_wait(prefer))
    response.headers["Location"] = f"/jobs/{job_id}"
    return await run_in_threadpool(_view, job_id, tenant_id)


def _submit_known(ask: service.Request, source_id: str) -> str:
    if source_id.startswith("upl_"):
        return service.submit_upload(ask, completed_teacher(source_id, ask.tenant_id))
    return service.submit_known(ask, source_id)


def _ended(mark: Mark | None) -> bool:
    return mark is None or is_terminal(mark.status)


@router.post("/validate", openapi_extra=JOB_BODY)
async def validate_job(request: Request, idempotency_key: IdempotencyKey = None) -> Validation:
    """Everything that creating the job would refuse; nothing is stored."""
    checked_key(idempotency_key)
    inspection: Inspection | None = None
    match content_type(request):
        case "multipart/form-data":
            async with read_upload(request, spec_required=True, dry_run=True) as upload:
                spec, _ = await read_model(upload.spec, JobSpec)
        case "application/json":
            spec, source_id = await run_parse(_asked_to_validate, await request.body())
            if source_id is not None:
                spec, inspection = await run_in_threadpool(_resolve, spec, source_id, request.state.tenant_id)
        case _:
            raise unsupported("multipart/form-data, application/json")
    validation = await run_parse(_validation, spec, inspection)
    await run_in_threadpool(_check_inputs, spec, request.state.tenant_id)
    return validation


def _asked_to_validate(body: bytes) -> tuple[JobSpec, str | None]:
    """A spec, and the id of a teacher or of an upload if there is one."""
    if _names_teacher(parse_json(body)):
        spec, _, source_id = _asked(body)
        return spec, source_id
    return parse_model(body, JobSpec)[0], None


def _validation(spec: JobSpec, inspection: Inspection | None) -> Validation:
    check_memory(spec, inspection)
    check_deadline(spec, inspection)
    return Validation(valid=True, resolved_spec=spec.resolved(), estimate=estimate(spec, inspection))


@router.api_route("/validate", methods=["GET", "PUT", "PATCH", "DELETE"], include_in_schema=False)
def not_a_job() -> None:
    """`/jobs/validate` is no job of that id."""
    raise HTTPException(405, "Method Not Allowed")


def _check_inputs(spec: JobSpec, tenant_id: str) -> None:
    with read_scope() as session:
        quotas.check_bytes(session, tenant_id)
        inputs.check(session, tenant_id, spec)


def _resolve(spec: JobSpec, source_id: str, tenant_id: str) -> tuple[JobSpec, Inspection | None]:
    """The spec completed by what is known of the teacher, and the report of its inspection."""
    if source_id.startswith("upl_"):
        completed_teacher(source_id, tenant_id)
        return spec, None
    with read_scope() as session:
        resolved = service.resolve_known(session, spec, source_id, tenant_id)
        teacher = session.get(Teacher, source_id)
        return resolved, inspection_of(teacher) if teacher else None


def _wanted_metadata(request: Request) -> list[tuple[str, str]]:
    """Pairs of `metadata[name]=value`. Raises InvalidBody for other parameters, and for too many."""
    wanted = []
    for name, value in request.query_params.multi_items():
        if name.startswith("metadata[") and name.endswith("]"):
            wanted.append((name[9:-1], value))
        elif name not in ("limit", "after", "status"):
            problem = FieldProblem(f"/{name[:64]}", "No such parameter.")
            raise InvalidBody("The query has an unknown parameter.", problem, code="unknown_field")
    if len(wanted) > MAX_LABELS:  # a database refuses a condition of hundreds
        problem = FieldProblem("/metadata", f"more than {MAX_LABELS}, and no job has as many")
        raise InvalidBody("The query has too many conditions.", problem)
    return wanted


@router.get("", openapi_extra=METADATA_FILTER)
def list_jobs(
    request: Request,
    limit: Limit = 20,
    after: After = None,
    status: Annotated[Status | None, STATUSES] = None,
) -> JobList:
    """The tenant's jobs, newest first; `metadata[key]=value` filters by metadata."""
    query = jobs_of(request.state.tenant_id, status)
    wanted = _wanted_metadata(request)
    with read_scope() as session:
        for name, value in wanted:
            query = query.where(labelled(session, name, value))
        rows, more = page(session, query, Job.id, prefix="job", after=after, limit=limit)
        data = job_views(session, [(job, teacher) for job, teacher in rows])
    return JobList.of(data, more=more)


def _json(job_id: str, tenant_id: str) -> tuple[bytes, bool]:
    """The job as the answer's bytes, and whether it has ended. The call that is made most: written once."""
    view = _view(job_id, tenant_id)
    return view.model_dump_json().encode(), view.terminal


@router.get("/{job_id}", response_model=JobView)
async def retrieve_job(request: Request, job_id: JobId, prefer: Prefer = None) -> Response:
    """One job; with `Prefer: wait=N` as soon as it changes."""
    tenant_id = request.state.tenant_id
    seconds = wanted_wait(prefer)
    require_id(job_id, "job", "/job_id")
    # Marked before it is looked at: what happens in between counts as a change.
    before = await run_read(progress_mark, job_id) if seconds else None
    body, terminal = await run_read(_json, job_id, tenant_id)
    if seconds and not terminal:
        await wait_for(job_id, lambda mark: mark != before, seconds)
        await run_read(check_open, request.state.principal)  # it may have been revoked meanwhile
        body, _ = await run_read(_json, job_id, tenant_id)
    return Response(body, media_type="application/json")


CHANGES: JsonObject = {"metadata": {"team": "vision"}, "keep": True}


@router.patch("/{job_id}")
def patch_job(
    request: Request, job_id: JobId, changes: Annotated[JobPatch, Depends(JsonBody(JobPatch, CHANGES))]
) -> JobView:
    """Replace the metadata, or say whether the job is kept; nothing else of it can be changed."""
    tenant_id = request.state.tenant_id
    service.patch(job_id, tenant_id, changes)
    return _view(job_id, tenant_id)


@router.post("/{job_id}/cancel")
def cancel_job(request: Request, job_id: JobId) -> JobView:
    """End the job; one that has trained keeps its student, marked partial. Idempotent."""
    service.cancel(job_id, request.state.tenant_id)
    return _view(job_id, request.state.tenant_id)


@router.post("/{job_id}/pause")
def pause_job(request: Request, job_id: JobId) -> JobView:
    """Hold the job: a checkpoint is kept, its worker goes free, its deadline stands still. Idempotent."""
    service.pause(job_id, request.state.tenant_id)
    return _view(job_id, request.state.tenant_id)


@router.post("/{job_id}/resume")
def resume_job(request: Request, job_id: JobId) -> JobView:
    """Queue a paused job again; it goes on from its checkpoint. Idempotent."""
    service.resume(job_id, request.state.tenant_id)
    return _view(job_id, request.state.tenant_id)


@router.post("/{job_id}/rerun", status_code=201)
def rerun_job(
    request: Request, response: Response, job_id: JobId, idempotency_key: IdempotencyKey = None
) -> JobView:
    """A new job with the teacher, the spec and the metadata of this one."""
    made = service.rerun(job_id, request.state.tenant_id, idempotency_key)
    response.headers["Location"] = f"/jobs/{made}"
    return _view(made, request.state.tenant_id)


REPORT: JsonObject = {"data": "our test set", "images": 10_000, "teacher": 0.95, "student": 0.93}


@router.post("/{job_id}/evaluations", status_code=201)
def add_evaluation(
    request: Request,
    job_id: JobId,
    report: Annotated[EvaluationReport, Depends(JsonBody(EvaluationReport, REPORT))],
) -> JobView:
    """Keep accuracy that was measured elsewhere; `result.evaluations` lists it, apart from `accuracy`."""
    tenant_id = request.state.tenant_id
    service.record_evaluation(job_id, tenant_id, report)
    return _view(job_id, tenant_id)


IMAGES: JsonObject = {"upload_id": f"upl_{'0' * 32}"}


@router.post("/{job_id}/measure", status_code=202)
def measure_job(
    request: Request,
    job_id: JobId,
    asked: Annotated[MeasurementRequest, Depends(JsonBody(MeasurementRequest, IMAGES))],
) -> JobView:
    """Measure the accuracy of teacher, student and exports on labelled images, after the job's end.

    A worker does it; `measurement` says how far that is, and `result.accuracy` has the figures. Idempotent
    for the same images.
    """
    tenant_id = request.state.tenant_id
    measurements.ask(job_id, tenant_id, asked.upload_id)
    return _view(job_id, tenant_id)


@router.delete("/{job_id}", status_code=204)
def delete_job(request: Request, job_id: JobId) -> Response:
    """Forget a job that has ended, with its artifacts."""
    service.remove(job_id, request.state.tenant_id)
    return Response(status_code=204)
