"""`/metrics`, for the operator and for keys with the scope metrics: what it tells is of all tenants."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

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
def metrics() -> Response:
    """Requests, jobs, tenants, workers and webhooks in Prometheus' text format.

    Needs a key with the scope metrics, or the operator's."""
    content = generate_latest(requests.registry()) + generate_latest(_kept)
    return Response(content, media_type=CONTENT_TYPE_LATEST)
