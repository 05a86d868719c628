"""`/teachers`."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from starlette.concurrency import run_in_threadpool

from app import idempotency, quotas
from app.db import read_scope, session_scope
from app.dispatch import send_due
from app.ids import new_id
from app.jobs.lifecycle import owe_message
from app.jobs.schemas import TeacherSpec
from app.json_body import parse_model
from app.models import Artifact, Teacher
from app.openapi import multipart_body
from app.pagination import After, Limit, page
from app.parameters import IdempotencyKey, TeacherId
from app.storage import get_store
from app.teachers.service import add_teacher, get_teacher
from app.teachers.tasks import INSPECT_TEACHER
from app.teachers.upload import Upload, content_type, read_upload, unsupported
from app.teachers.views import TeacherList, TeacherView, teacher_view

router = APIRouter(prefix="/teachers", tags=["teachers"])


@router.post("", status_code=201, openapi_extra=multipart_body("TeacherSpec", spec_required=False))
async def create_teacher(
    request: Request, response: Response, idempotency_key: IdempotencyKey = None
) -> TeacherView:
    """Upload a teacher by itself; it is inspected in the background."""
    if content_type(request) != "multipart/form-data":
        raise unsupported("multipart/form-data")
    key, tenant_id = idempotency.checked_key(idempotency_key), request.state.tenant_id
    async with read_upload(request, spec_required=False) as upload:
        _, spec = parse_model(upload.spec, TeacherSpec)
        seen = idempotency.fingerprint(spec, upload.sha256)
        known = await run_in_threadpool(idempotency.made_before, Teacher, tenant_id, key, seen)
        if known is None:
            known = await run_in_threadpool(_store, upload, spec, tenant_id, key, seen)
    view = await run_in_threadpool(_view, known, tenant_id)
    response.headers["Location"] = f"/teachers/{view.id}"
    return view


def _view(teacher_id: str, tenant_id: str) -> TeacherView:
    with read_scope() as session:
        return teacher_view(*get_teacher(session, teacher_id, tenant_id))


def _store(upload: Upload, spec: dict[str, object], tenant_id: str, key: str | None, seen: str) -> str:
    with read_scope() as session:
        quotas.check_bytes(session, tenant_id, upload.num_bytes)
    artifact_id = new_id("art")
    stored = get_store().put(artifact_id, upload.pieces())
    try:
        with session_scope() as session:
            teacher = add_teacher(
                session,
                tenant_id=tenant_id,
                artifact_id=artifact_id,
                stored=stored,
                filename=upload.filename,
                spec=spec,
                idempotency_key=key,
                idempotency_hash=seen if key else None,
            )
            owe_message(session, INSPECT_TEACHER, teacher.id, teacher.created_at)
    except IntegrityError as error:
        get_store().delete(artifact_id)
        raise idempotency.in_flight() from error
    except BaseException:
        get_store().delete(artifact_id)
        raise
    send_due()
    return teacher.id


@router.get("")
def list_teachers(request: Request, limit: Limit = 20, after: After = None) -> TeacherList:
    """The tenant's teachers, newest first."""
    with read_scope() as session:
        query = (
            select(Teacher, Artifact)
            .join(Artifact, Artifact.id == Teacher.artifact_id)
            .where(Teacher.tenant_id == request.state.tenant_id)
        )
        rows, more = page(session, query, Teacher.id, prefix="tch", after=after, limit=limit)
        data = [teacher_view(teacher, artifact) for teacher, artifact in rows]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return TeacherList(data=data, has_more=more, first_id=first, last_id=last)


@router.get("/{teacher_id}")
def retrieve_teacher(request: Request, teacher_id: TeacherId) -> TeacherView:
    """One teacher and its inspection report."""
    return _view(teacher_id, request.state.tenant_id)
