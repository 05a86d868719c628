"""`/usage`, for every tenant its own; `/quotas`, for the operator."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from app.access.keys.principal import TENANT_PATTERN
from app.access.usage import quota_store
from app.access.usage.schemas import QuotaList, QuotaView, UsageList
from app.access.usage.service import default_months, quota_view, quota_views, tenants_with_use, usage_of
from app.http.json_body import JsonBody
from app.http.pagination import Limit
from app.models.tenancy import as_system
from app.platform.db import read_scope, session_scope
from app.platform.errors import FieldProblem, InvalidBody, ServiceError
from app.platform.settings import Quota
from dfad_core.contract.serialization import JsonObject

router = APIRouter()

Month = Annotated[
    str | None, Query(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$", description="As in `2026-11`; of UTC.")
]
AfterTenant = Annotated[
    str | None, Query(pattern=TENANT_PATTERN, description="The last tenant of the page before.")
]
TenantOrAll = Annotated[
    str, Path(pattern=rf"^\*$|{TENANT_PATTERN}", description="A tenant's name, or `*` for everybody.")
]


@router.get("/usage", tags=["usage"])
def list_usage(
    request: Request,
    month: Month = None,
    since_month: Month = None,
    limit: Limit = 20,
    after: AfterTenant = None,
) -> UsageList:
    """The quota that holds, what is in use now, and what was used by month; of the last twelve by default.

    For the operator, unless they name a tenant: of all tenants that used something in those months, a page at
    a time.
    """
    if month is not None and since_month is not None:
        raise InvalidBody("Name a month or the first of several.", FieldProblem("/since_month", "not both"))
    principal = request.state.principal
    with as_system(), read_scope() as session:
        first, last = default_months(session)
        months = (month, month) if month is not None else (since_month or first, last)
        tenants, more = [request.state.tenant_id], False
        if principal.manages_all_keys or principal.sees_all:
            tenants, more = tenants_with_use(session, months, after=after, limit=limit)
        data = usage_of(session, tenants, months)
    return UsageList(data=data, has_more=more, last_id=data[-1].tenant_id if data else None)


def _operator(request: Request) -> None:
    if not request.state.principal.operator:
        text = "Quotas are the operator's (DFAD_API_KEY of the server). `GET /usage` shows your own."
        raise ServiceError(403, "forbidden", text)


quotas = APIRouter(prefix="/quotas", tags=["quotas"], dependencies=[Depends(_operator)])


@quotas.get("")
def list_quotas() -> QuotaList:
    """Everybody's quota and those of all tenants with their own; for the operator alone."""
    with as_system(), read_scope() as session:
        return QuotaList(data=quota_views(session))


@quotas.get("/{tenant_id}")
def get_quota(tenant_id: TenantOrAll) -> QuotaView:
    """What holds for one tenant, and where it is set; for the operator alone."""
    with as_system(), read_scope() as session:
        return quota_view(session, tenant_id)


EXAMPLE: JsonObject = {"queued_jobs": 100, "running_jobs": 4}


@quotas.put("/{tenant_id}")
def put_quota(
    tenant_id: TenantOrAll, quota: Annotated[Quota, Depends(JsonBody(Quota, EXAMPLE))]
) -> QuotaView:
    """Set a tenant's limits, or everybody's, in the place of those that were put before.

    A limit that is null or missing is not set here. In force at once in this process, in other server
    processes and workers within a few seconds. For the operator alone.
    """
    with as_system(), session_scope() as session:
        quota_store.put(session, tenant_id, quota)
        view = quota_view(session, tenant_id)
    _refresh()
    return view


@quotas.delete("/{tenant_id}", status_code=204)
def delete_quota(tenant_id: TenantOrAll) -> Response:
    """Forget what was put; DFAD_QUOTAS holds again. Idempotent. For the operator alone."""
    with as_system(), session_scope() as session:
        quota_store.remove(session, tenant_id)
    _refresh()
    return Response(status_code=204)


def _refresh() -> None:
    with as_system(), read_scope() as session:
        quota_store.refresh(session)


router.include_router(quotas)
