"""Keeping webhooks, and what their owner does with them and their deliveries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.access import quotas
from app.http.idempotency import Once
from app.models import Webhook, WebhookDelivery
from app.models.tenancy import owned_by
from app.platform.db import database_now, read_scope, session_scope
from app.platform.errors import NotFound, ServiceError
from app.platform.ids import new_id, require_id
from app.webhooks.delivery import redo as send_again
from app.webhooks.owing import TEST, body_of, new_delivery
from app.webhooks.schemas import DeliveryView, NewWebhookView, WebhookPatch, WebhookRequest, WebhookView
from app.webhooks.secrets import SecretUnreadable, new_secret, seal, unseal

MOST_WEBHOOKS = 20
"""Of one tenant; every change of a job is owed to each."""
MOST_TESTS = 5
"""Under way to one webhook: the button is no means to send somebody a thousand messages."""
MOST_OLD_SECRETS = 4
OVERLAP_HOURS = 24


def create(tenant_id: str, asked: WebhookRequest, key: str | None) -> str:
    """A new webhook; its id. Raises ServiceError 429 past MOST_WEBHOOKS."""
    once = Once(Webhook, tenant_id, key, asked.model_dump(), "webhook")
    known = once.made_before()
    if known is not None:
        return known
    with once.transaction() as session:
        quotas.hold(session, tenant_id, always=True)
        mine = select(func.count()).select_from(Webhook).where(Webhook.tenant_id == tenant_id)
        if (session.scalar(mine) or 0) >= MOST_WEBHOOKS:
            raise quotas.exceeded("webhooks", MOST_WEBHOOKS)
        now = database_now(session)
        webhook = Webhook(
            id=new_id("whk"),
            tenant_id=tenant_id,
            url=asked.url,
            events=list(dict.fromkeys(asked.events)),
            description=asked.description,
            labels=asked.metadata,
            secret=seal(new_secret()),
            old_secrets=[],
            healthy_at=now,
            created_at=now,
            **once.columns,
        )
        session.add(webhook)
    return webhook.id


def get_webhook(session: Session, webhook_id: str, tenant_id: str, *, lock: bool = False) -> Webhook:
    """The tenant's webhook. Raises NotFound, or InvalidBody for what is no id."""
    require_id(webhook_id, "whk", "/webhook_id")
    query = select(Webhook).where(Webhook.id == webhook_id, owned_by(Webhook, tenant_id))
    webhook = session.scalar(query.with_for_update() if lock else query)
    if webhook is None:
        raise NotFound("webhook")
    return webhook


def shown(webhook: Webhook) -> WebhookView:
    """How it looks to clients."""
    renamed = ("object", "metadata")
    same = {name: getattr(webhook, name) for name in WebhookView.model_fields if name not in renamed}
    return WebhookView(**same, metadata=webhook.labels)


def view(webhook_id: str, tenant_id: str) -> WebhookView:
    """One webhook."""
    with read_scope() as session:
        return shown(get_webhook(session, webhook_id, tenant_id))


def view_with_secret(webhook_id: str, tenant_id: str) -> NewWebhookView:
    """One webhook that was just made, or whose secret is new."""
    with read_scope() as session:
        webhook = get_webhook(session, webhook_id, tenant_id)
    try:
        return NewWebhookView(**shown(webhook).model_dump(), secret=unseal(webhook.secret))
    except SecretUnreadable as error:
        raise ServiceError(503, "unavailable", "The secret cannot be read just now.") from error


def patch(webhook_id: str, tenant_id: str, changes: WebhookPatch) -> None:
    """Change what is named. Enabling it forgets why it was disabled; what waited is sent then."""
    values: dict[str, Any] = changes.model_dump(exclude_none=True)
    with session_scope() as session:
        webhook = get_webhook(session, webhook_id, tenant_id, lock=True)
        if "metadata" in values:
            values["labels"] = values.pop("metadata")
        if values.get("enabled") is not None:
            values["disabled_reason"] = None
            if values["enabled"] and not webhook.enabled:
                values["healthy_at"] = database_now(session)
        for name, value in values.items():
            setattr(webhook, name, value)


def remove(webhook_id: str, tenant_id: str) -> None:
    """Forget it with its log; what it was still owed is not sent."""
    with session_scope() as session:
        get_webhook(session, webhook_id, tenant_id)
        # In the order in which senders write, so that neither waits for the other for ever.
        session.execute(delete(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id))
        session.execute(delete(Webhook).where(Webhook.id == webhook_id))


def rotate(webhook_id: str, tenant_id: str, overlap_hours: float) -> None:
    """A new secret; the present one signs too for `overlap_hours`, so that receivers can follow.

    Raises ServiceError 409 when too many still do: dropping one would silence a receiver that knows it.
    """
    with session_scope() as session:
        webhook = get_webhook(session, webhook_id, tenant_id, lock=True)
        now = database_now(session)
        old = [kept for kept in webhook.old_secrets if kept["until"] > now.isoformat()]
        if overlap_hours == 0:
            old = []
        elif len(old) >= MOST_OLD_SECRETS:
            text = "Several secrets still sign beside the present one; wait, or use overlap_hours=0."
            raise ServiceError(409, "conflict", text)
        else:
            until = now + timedelta(hours=overlap_hours)
            old = [{"secret": webhook.secret, "until": until.isoformat()}, *old]
        webhook.old_secrets, webhook.secret = old, seal(new_secret())


def send_test(webhook_id: str, tenant_id: str, key: str | None) -> str:
    """Owe a `webhook.test`, tried once, also to a disabled webhook; the delivery's id."""
    with read_scope() as session:
        get_webhook(session, webhook_id, tenant_id)
    once = Once(WebhookDelivery, tenant_id, key, {"webhook_id": webhook_id}, "webhook test")
    known = once.made_before()
    if known is not None:
        return known
    with once.transaction() as session:
        get_webhook(session, webhook_id, tenant_id, lock=True)  # of many at once, each counts the others
        mine = (WebhookDelivery.webhook_id == webhook_id, WebhookDelivery.event == TEST)
        waiting = select(func.count()).select_from(WebhookDelivery)
        waiting = waiting.where(*mine, WebhookDelivery.status == "pending")
        if (session.scalar(waiting) or 0) >= MOST_TESTS:
            raise quotas.exceeded("tests of a webhook", MOST_TESTS)
        now = database_now(session)
        body = body_of(TEST, now, {"id": webhook_id, "object": "webhook", "url": f"/webhooks/{webhook_id}"})
        delivery = new_delivery(webhook_id, tenant_id, TEST, body, now)
        for name, value in once.columns.items():
            setattr(delivery, name, value)
        session.add(delivery)
    return delivery.id


def get_delivery(session: Session, delivery_id: str, webhook_id: str, tenant_id: str) -> WebhookDelivery:
    """One line of the tenant's webhook's log. Raises NotFound, or InvalidBody for what is no id."""
    get_webhook(session, webhook_id, tenant_id)
    require_id(delivery_id, "dlv", "/delivery_id")
    mine = (WebhookDelivery.id == delivery_id, WebhookDelivery.webhook_id == webhook_id)
    delivery = session.scalar(select(WebhookDelivery).where(*mine))
    if delivery is None:
        raise NotFound("delivery")
    return delivery


def shown_delivery(delivery: WebhookDelivery) -> DeliveryView:
    """How it looks to clients."""
    return DeliveryView(**{n: getattr(delivery, n) for n in DeliveryView.model_fields if n != "object"})


def view_delivery(delivery_id: str, webhook_id: str, tenant_id: str) -> DeliveryView:
    """One delivery."""
    with read_scope() as session:
        return shown_delivery(get_delivery(session, delivery_id, webhook_id, tenant_id))


def redeliver(delivery_id: str, webhook_id: str, tenant_id: str) -> None:
    """Send it again now, under the same id, with the whole schedule before it. Idempotent."""
    with session_scope() as session:
        get_delivery(session, delivery_id, webhook_id, tenant_id)
        send_again(session, [delivery_id])
