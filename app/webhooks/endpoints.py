"""`/webhooks`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from app.http.json_body import JsonBody
from app.http.pagination import After, Limit, page
from app.http.parameters import DeliveryId, IdempotencyKey, WebhookId
from app.models import Webhook, WebhookDelivery
from app.platform.db import read_scope
from app.webhooks import service
from app.webhooks.queries import deliveries_of, webhooks_of
from app.webhooks.schemas import (
    DeliveryList,
    DeliveryStatus,
    DeliveryView,
    NewWebhookView,
    WebhookList,
    WebhookPatch,
    WebhookRequest,
    WebhookView,
)
from dfad_core.contract.serialization import JsonObject

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

Overlap = Annotated[float, Query(ge=0, le=168, description="How long the old secret signs too.")]


EXAMPLE: JsonObject = {"url": "https://hooks.example.com/jobs", "events": ["job.succeeded", "job.failed"]}


@router.post("", status_code=201)
def create_webhook(
    request: Request,
    response: Response,
    asked: Annotated[WebhookRequest, Depends(JsonBody(WebhookRequest, EXAMPLE))],
    idempotency_key: IdempotencyKey = None,
) -> NewWebhookView:
    """Be told of jobs by signed messages. The secret is in this answer and in no other."""
    tenant_id = request.state.tenant_id
    webhook_id = service.create(tenant_id, asked, idempotency_key)
    response.headers["Location"] = f"/webhooks/{webhook_id}"
    response.headers["Cache-Control"] = "no-store"
    return service.view_with_secret(webhook_id, tenant_id)


@router.get("")
def list_webhooks(request: Request, limit: Limit = 20, after: After = None) -> WebhookList:
    """The tenant's webhooks, newest first; never their secrets."""
    query = webhooks_of(request.state.tenant_id)
    with read_scope() as session:
        rows, more = page(session, query, Webhook.id, prefix="whk", after=after, limit=limit)
        data = [service.shown(row[0]) for row in rows]
    return WebhookList.of(data, more=more)


@router.get("/{webhook_id}")
def retrieve_webhook(request: Request, webhook_id: WebhookId) -> WebhookView:
    """One webhook."""
    return service.view(webhook_id, request.state.tenant_id)


@router.patch("/{webhook_id}")
def patch_webhook(
    request: Request,
    webhook_id: WebhookId,
    changes: Annotated[WebhookPatch, Depends(JsonBody(WebhookPatch, {"enabled": False}))],
) -> WebhookView:
    """Change the URL, the events, the description or the metadata; disable or enable it."""
    tenant_id = request.state.tenant_id
    service.patch(webhook_id, tenant_id, changes)
    return service.view(webhook_id, tenant_id)


@router.delete("/{webhook_id}", status_code=204)
def delete_webhook(request: Request, webhook_id: WebhookId) -> Response:
    """Forget it with its log; what it was still owed is not sent."""
    service.remove(webhook_id, request.state.tenant_id)
    return Response(status_code=204)


@router.post("/{webhook_id}/rotate-secret")
def rotate_webhook_secret(
    request: Request,
    response: Response,
    webhook_id: WebhookId,
    overlap_hours: Overlap = service.OVERLAP_HOURS,
) -> NewWebhookView:
    """A new secret, shown in this answer alone; messages carry the old one's signature too for a while."""
    service.rotate(webhook_id, request.state.tenant_id, overlap_hours)
    response.headers["Cache-Control"] = "no-store"
    return service.view_with_secret(webhook_id, request.state.tenant_id)


@router.post("/{webhook_id}/test", status_code=201)
def send_webhook_test(
    request: Request, response: Response, webhook_id: WebhookId, idempotency_key: IdempotencyKey = None
) -> DeliveryView:
    """Send a `webhook.test`, tried once, also while the webhook is disabled; the log has its end."""
    tenant_id = request.state.tenant_id
    delivery_id = service.send_test(webhook_id, tenant_id, idempotency_key)
    response.headers["Location"] = f"/webhooks/{webhook_id}/deliveries/{delivery_id}"
    return service.view_delivery(delivery_id, webhook_id, tenant_id)


@router.get("/{webhook_id}/deliveries")
def list_webhook_deliveries(
    request: Request,
    webhook_id: WebhookId,
    limit: Limit = 20,
    after: After = None,
    status: Annotated[DeliveryStatus | None, Query(description="Only deliveries in this state.")] = None,
) -> DeliveryList:
    """What the webhook was sent or is owed, newest first."""
    query = deliveries_of(webhook_id, status)
    with read_scope() as session:
        service.get_webhook(session, webhook_id, request.state.tenant_id)
        rows, more = page(session, query, WebhookDelivery.id, prefix="dlv", after=after, limit=limit)
        data = [service.shown_delivery(row[0]) for row in rows]
    return DeliveryList.of(data, more=more)


@router.get("/{webhook_id}/deliveries/{delivery_id}")
def retrieve_webhook_delivery(
    request: Request, webhook_id: WebhookId, delivery_id: DeliveryId
) -> DeliveryView:
    """One delivery."""
    return service.view_delivery(delivery_id, webhook_id, request.state.tenant_id)


@router.post("/{webhook_id}/deliveries/{delivery_id}/redeliver")
def redeliver_webhook_delivery(
    request: Request, webhook_id: WebhookId, delivery_id: DeliveryId
) -> DeliveryView:
    """Send the message again, under the same id. Idempotent while it is pending."""
    service.redeliver(delivery_id, webhook_id, request.state.tenant_id)
    return service.view_delivery(delivery_id, webhook_id, request.state.tenant_id)
