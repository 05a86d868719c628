"""Which rows of webhooks the API and the pages read."""

from __future__ import annotations

from sqlalchemy import Select, select

from app.models import Webhook, WebhookDelivery
from app.models.tenancy import owned_by


def webhooks_of(tenant_id: str) -> Select[Webhook]:
    """The tenant's webhooks, without an order."""
    return select(Webhook).where(owned_by(Webhook, tenant_id))


def deliveries_of(webhook_id: str, status: str | None = None) -> Select[WebhookDelivery]:
    """What a webhook was sent or is owed, without an order."""
    query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
    return query if status is None else query.where(WebhookDelivery.status == status)
