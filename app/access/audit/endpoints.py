"""`/audit`: for keys with the scope admin, and for the operator."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel
from sqlalchemy import Select
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from app.access.audit.queries import Since, Until, in_span, next_lines
from app.access.keys.principal import Principal
from app.access.still_open import check_open
from app.http.pagination import After, Limit, Page, page
from app.http.reading import run_read
from app.models import AuditEvent
from app.platform.db import database_now, read_scope

router = APIRouter(prefix="/audit", tags=["audit"])

LINES_AT_ONCE = 200
"""Of an export, in one read of the database."""
NDJSON, CSV = "application/x-ndjson", "text/csv"


class AuditView(BaseModel):
    """A request that may have changed something."""

    id: str
    tenant_id: str | None
    """The tenant it was done for; null for a sign-in that failed."""
    key_id: str | None
    """The key it came with; null for people, for the operator's own, and where there was no right one."""
    secret_number: int | None
    """Which secret of the key it was: each rotation makes the next number."""
    person: str | None
    """The person who did it: the subject that the sign-in provider knows them by."""
    operator: bool
    """Whether the operator did it."""
    action: str
    subject_id: str | None
    """Id of what was made or changed."""
    status: int
    request_id: str
    address: str | None
    created_at: datetime


class AuditList(Page[AuditView]):
    """A page of the audit, newest first."""


def _view(line: AuditEvent) -> AuditView:
    return AuditView(**{name: getattr(line, name) for name in AuditView.model_fields})


@router.get("")
def list_audit_events(
    limit: Limit = 20, after: After = None, since: Since = None, until: Until = None
) -> AuditList:
    """What the tenant's keys changed, or tried to, newest first."""
    query = in_span(since, until)
    with read_scope() as session:
        rows, more = page(session, query, AuditEvent.id, prefix="aud", after=after, limit=limit)
        data = [_view(row[0]) for row in rows]
    return AuditList.of(data, more=more)


@router.get(
    "/export",
    response_class=StreamingResponse,
    responses={200: {"content": {NDJSON: {"schema": {"type": "string"}}, CSV: {}}}},
)
async def export_audit_events(
    request: Request, since: Since = None, until: Until = None
) -> StreamingResponse:
    """All of that span, oldest first: one JSON object a line, or CSV with `Accept: text/csv`.

    Without `until` up to now. An answer that breaks off is incomplete: the end of a whole one is marked as in
    every HTTP answer.
    """
    if until is None:
        until = await run_in_threadpool(_now)
    as_csv = CSV in request.headers.get("accept", "")
    lines = _exported(in_span(since, until), _csv if as_csv else _ndjson, request.state.principal)
    headers = {"Cache-Control": "no-store"}
    if not as_csv:
        return StreamingResponse(lines, media_type=NDJSON, headers=headers)
    return StreamingResponse(_headed(lines), media_type=CSV, headers=headers)


def _now() -> datetime:
    with read_scope() as session:
        return database_now(session)


Write = Callable[[Sequence[AuditView]], str]


async def _exported(query: Select[AuditEvent], write: Write, principal: Principal) -> AsyncIterator[str]:
    """All lines, some at a time; between them neither a transaction nor a thread is held.

    Raises ServiceError 401 where the key is revoked meanwhile, which breaks the answer off.
    """
    last_id: str | None = None
    while True:
        text, last_id, count = await run_read(_piece, query, write, last_id)
        if text:
            yield text
        if count < LINES_AT_ONCE:
            return
        await run_read(check_open, principal)


def _piece(query: Select[AuditEvent], write: Write, last_id: str | None) -> tuple[str, str | None, int]:
    """The next lines as text, the id of the last of them, and how many they are."""
    with read_scope() as session:
        lines = next_lines(session, query, last_id, LINES_AT_ONCE)
    return write([_view(line) for line in lines]), lines[-1].id if lines else last_id, len(lines)


async def _headed(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    yield ",".join(AuditView.model_fields) + "\r\n"
    async for piece in lines:
        yield piece


def _ndjson(lines: Sequence[AuditView]) -> str:
    return "".join(f"{line.model_dump_json()}\n" for line in lines)


def _csv(lines: Sequence[AuditView]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, list(AuditView.model_fields)).writerows(
        line.model_dump(mode="json") for line in lines
    )
    return text.getvalue()
