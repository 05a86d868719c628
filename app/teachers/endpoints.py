"""`/teachers`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from app.access import quotas
from app.files.teacher_files import TeacherFile
from app.files.teacher_upload import read_upload
from app.files.uploads.service import completed_teacher
from app.http.idempotency import Once, checked_key
from app.http.json_body import content_type, read_model, unsupported
from app.http.openapi import multipart_body
from app.http.pagination import After, Limit, page
from app.http.parameters import IdempotencyKey, TeacherId
from app.models import Teacher
from app.platform.db import read_scope
from app.teachers.queries import teachers_of
from app.teachers.schemas import TeacherRequest, TeacherSpec
from app.teachers.service import add_teacher, get_teacher, remove_teacher
from app.teachers.views import TeacherList, TeacherView, teacher_views

router = APIRouter(prefix="/teachers", tags=["teachers"])


@router.post(
    "",
    status_code=201,
    openapi_extra=multipart_body(
        TeacherSpec,
        spec_required=False,
        or_json=TeacherRequest,
        example={"upload_id": f"upl_{'0' * 32}", "architecture": "resnet34"},
    ),
)
async def create_teacher(
    request: Request, response: Response, idempotency_key: IdempotencyKey = None
) -> TeacherView:
    """A teacher by itself, as a file or uploaded in parts before; it is inspected in the background."""
    key, tenant_id = checked_key(idempotency_key), request.state.tenant_id
    match content_type(request):
        case "multipart/form-data":
            async with read_upload(request, spec_required=False) as upload:
                _, spec = await read_model(upload.spec, TeacherSpec)
                made = await run_in_threadpool(_store, upload, spec, tenant_id, key)
        case "application/json":
            asked, spec = await read_model(await request.body(), TeacherRequest)
            del spec["upload_id"]
            file = await run_in_threadpool(completed_teacher, asked.upload_id, tenant_id)
            made = await run_in_threadpool(_store, file, spec, tenant_id, key)
        case _:
            raise unsupported("multipart/form-data, application/json")
    view = await run_in_threadpool(_view, made, tenant_id)
    response.headers["Location"] = f"/teachers/{view.id}"
    return view


def _view(teacher_id: str, tenant_id: str) -> TeacherView:
    with read_scope() as session:
        return teacher_views(session, [get_teacher(session, teacher_id, tenant_id)])[0]


def _store(file: TeacherFile, spec: dict[str, Any], tenant_id: str, key: str | None) -> str:
    once = Once(Teacher, tenant_id, key, spec, file.stored.sha256)
    known = once.made_before()
    if known is not None:
        return known
    with once.transaction() as session:
        quotas.hold(session, tenant_id)
        return add_teacher(session, tenant_id=tenant_id, file=file, spec=spec, once=once).id


@router.get("")
def list_teachers(request: Request, limit: Limit = 20, after: After = None) -> TeacherList:
    """The tenant's teachers, newest first."""
    with read_scope() as session:
        query = teachers_of(request.state.tenant_id)
        rows, more = page(session, query, Teacher.id, prefix="tch", after=after, limit=limit)
        data = teacher_views(session, [(teacher, artifact) for teacher, artifact in rows])
    return TeacherList.of(data, more=more)


@router.get("/{teacher_id}")
def retrieve_teacher(request: Request, teacher_id: TeacherId) -> TeacherView:
    """One teacher and its inspection report."""
    return _view(teacher_id, request.state.tenant_id)


@router.delete("/{teacher_id}", status_code=204)
def delete_teacher(request: Request, teacher_id: TeacherId) -> Response:
    """Delete a teacher's bytes, once no job needs them; jobs that it taught stay."""
    remove_teacher(teacher_id, request.state.tenant_id)
    return Response(status_code=204)
