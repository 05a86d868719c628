"""`/leases`: what workers wait for, and their signs of life. Not in the description of the interface."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from sqlalchemy import delete

from app.access.keys.principal import Principal
from app.http.json_body import JsonBody
from app.http.parameters import Prefer
from app.http.waiting import wanted_wait
from app.leases.due import Kind, wait_until_due
from app.leases.holding import Caller
from app.leases.schemas import Device, ReportRequest
from app.models import WorkerBeat
from app.models.clock import steady_now
from app.models.tenancy import as_system
from app.models.worker_beat import WorkerReport
from app.platform.db import session_scope
from app.platform.errors import ServiceError
from app.platform.settings import get_settings
from app.workers.seen import live_workers
from dfad_core import __version__
from dfad_core.contract.serialization import from_json, to_json

router = APIRouter(prefix="/leases", include_in_schema=False)


@router.get("/due")
async def due(
    request: Request,
    kind: Kind,
    device: Annotated[list[Device] | None, Query()] = None,
    prefer: Prefer = None,
) -> dict[str, bool]:
    """Whether there is something to claim; with `Prefer: wait=N` as soon as there is, within N seconds."""
    principal: Principal = request.state.principal
    devices = principal.worker_devices & set(device or ())
    found = await wait_until_due(kind, devices, principal.tenant_id, wanted_wait(prefer))
    return {"due": found}


@router.put("/worker")
def sign_of_life(
    holder: Caller, asked: Annotated[ReportRequest, Depends(JsonBody(ReportRequest, {"report": {}}))]
) -> dict[str, Any]:
    """The worker lives. The answer: the times of leases, and the living workers of the same machine."""
    settings, report = get_settings(), _allowed(from_json(WorkerReport, asked.report), holder.devices)
    with as_system(), session_scope() as session:
        session.merge(WorkerBeat(id=holder.owner, seen_at=steady_now(session), details=to_json(report)))
    with as_system():
        others = [worker.report for worker in live_workers()]
    same = [other for other in others if _share(other, report)]
    return {
        "version": __version__,
        "lease_seconds": settings.lease_seconds,
        "heartbeat_seconds": settings.heartbeat_seconds,
        "self_fence_seconds": settings.self_fence_seconds,
        "max_attempts": settings.max_attempts,
        "workers": [to_json(other) for other in same],
    }


@router.delete("/worker", status_code=204)
def leave(holder: Caller) -> Response:
    """The worker ends."""
    with as_system(), session_scope() as session:
        session.execute(delete(WorkerBeat).where(WorkerBeat.id == holder.owner))
    return Response(status_code=204)


def _allowed(report: WorkerReport, devices: Collection[str]) -> WorkerReport:
    """The report of a worker that takes the jobs of these devices alone. Raises ServiceError 403 for none."""
    takes = tuple(device for device in report.takes if device in devices)
    if not takes:
        text = f"The key is for jobs of device {' or '.join(sorted(devices))}: none that the worker takes."
        raise ServiceError(403, "forbidden", text)
    return replace(report, takes=takes)


def _share(one: WorkerReport, other: WorkerReport) -> bool:
    """Whether two workers share processors or memory: what nobody else's ids are told for."""
    same_processors = one.processors_id is not None and one.processors_id == other.processors_id
    return same_processors or (one.memory_id is not None and one.memory_id == other.memory_id)
