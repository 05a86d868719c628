"""`/audit`: for keys with the scope admin, and for the operator."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import select

from app.db import read_scope
from app.models import AuditEvent
from app.pagination import After, Limit, page

router = APIRouter(prefix="/audit", tags=["audit"])


class AuditView(BaseModel):
    """A request that may have changed something."""

    id: str
    tenant_id: str
    key_id: str | None
    action: str
    status: int
    request_id: str
    address: str | None
    created_at: datetime


class AuditList(BaseModel):
    """A page of the audit, newest first."""

    data: list[AuditView]
    has_more: bool
    first_id: str | None
    last_id: str | None


@router.get("")
def list_audit_events(limit: Limit = 20, after: After = None) -> AuditList:
    """What the tenant's keys changed, or tried to, newest first."""
    with read_scope() as session:
        rows, more = page(session, select(AuditEvent), AuditEvent.id, prefix="aud", after=after, limit=limit)
        data = [AuditView(**{n: getattr(row[0], n) for n in AuditView.model_fields}) for row in rows]
    first, last = (data[0].id, data[-1].id) if data else (None, None)
    return AuditList(data=data, has_more=more, first_id=first, last_id=last)
