"""`/metrics`, for the operator alone: what it tells is of all tenants."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from app.platform.errors import ServiceError
from app.telemetry import requests
from app.telemetry.jobs import JobCollector
from app.telemetry.tenants import TenantCollector
from app.telemetry.webhooks import WebhookCollector
from app.telemetry.workers import WorkerCollector

router = APIRouter(tags=["health"])

_kept = CollectorRegistry()
_kept.register(JobCollector())
_kept.register(TenantCollector())
_kept.register(WorkerCollector())
_kept.register(WebhookCollector())


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(request: Request) -> Response:
    """Requests, jobs, tenants, workers and webhooks in Prometheus' text format; needs the operator's key."""
    if not request.state.principal.operator:
        raise ServiceError(403, "forbidden", "The metrics are the operator's.")
    content = generate_latest(requests.registry()) + generate_latest(_kept)
    return Response(content, media_type=CONTENT_TYPE_LATEST)
