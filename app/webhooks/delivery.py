"""Sending what is owed: claim, try, write down. At least once, and never lost.

A claim is a short lease, so that any number of senders may run at once and one that dies holds nothing up for
long. Of one webhook one message is under way at a time, and of one tenant a few: a receiver that hangs costs
its owner time and nobody else. No transaction is open while a message is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

from sqlalchemy import Select, func, or_, select, update
from sqlalchemy.orm import Session, aliased

from app.models import Webhook, WebhookDelivery
from app.platform.db import database_now, read_scope, session_scope
from app.platform.network_addresses import parse_allowed
from app.platform.settings import get_settings
from app.webhooks.owing import TEST
from app.webhooks.schedule import next_delay, seconds_asked
from app.webhooks.secrets import SecretUnreadable, unseal
from app.webhooks.sending import Outcome, post
from app.webhooks.signing import signed_headers

AT_ONCE_A_TENANT = 4
LEASE_FACTOR = 3
"""A lease lasts so many times a try's timeout: a sender that is but slow keeps it."""
AGENT = "dfad-webhooks/1"

Post = Callable[..., Outcome]


@dataclass(frozen=True)
class Owed:
    """One try that this process has claimed."""

    id: str
    webhook_id: str
    event: str
    url: str
    secrets: tuple[str, ...]
    """As stored; the newest first."""
    body: str
    attempt: int
    retries: int
    claimed_at: datetime
    created_at: datetime


def claim_due(limit: int) -> list[Owed]:
    """Up to `limit` messages whose time has come."""
    with read_scope() as session:
        if not session.execute(_due(database_now(session)).limit(1)).first():
            return []
    with session_scope() as session:
        now = database_now(session)
        claimed = []
        for delivery_id, attempts in session.execute(_in_turn(now, limit)).all():
            if _claim(session, delivery_id, attempts, now):
                claimed.append(_owed(session, delivery_id, now))
    return claimed


def _due(now: datetime) -> Select[str, int]:
    """Pending messages that nobody is at, of webhooks that nobody is at."""
    other = aliased(WebhookDelivery)
    busy = select(other.webhook_id).where(other.leased_until > now)
    return (
        select(WebhookDelivery.id, WebhookDelivery.attempts)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .where(
            WebhookDelivery.status == "pending",
            WebhookDelivery.next_attempt_at <= now,
            or_(Webhook.enabled, WebhookDelivery.event == TEST),
            WebhookDelivery.webhook_id.not_in(busy),
        )
    )


def _in_turn(now: datetime, limit: int) -> Select[str, int]:
    """The oldest due message of each webhook, of each tenant no more than its share.

    The tenant with the fewest messages under way comes first; of several, the one that was served the longest
    ago. The same holds for the webhooks of one tenant. So receivers that hang, with however many messages
    owed, hold up another for one try of theirs at most.
    """
    order = (WebhookDelivery.next_attempt_at, WebhookDelivery.id)
    number = func.row_number().over(partition_by=WebhookDelivery.webhook_id, order_by=order)
    due = _due(now).add_columns(
        WebhookDelivery.tenant_id,
        WebhookDelivery.next_attempt_at,
        Webhook.tried_at,
        number.label("of_webhook"),
    )
    first = due.subquery()
    oldest = (first.c.tried_at.asc().nulls_first(), first.c.next_attempt_at, first.c.id)
    turn = func.row_number().over(partition_by=first.c.tenant_id, order_by=oldest)
    turns = select(first, turn.label("of_tenant")).where(first.c.of_webhook == 1).subquery()
    under_way = (
        select(func.count())
        .select_from(WebhookDelivery)
        .where(WebhookDelivery.tenant_id == turns.c.tenant_id, WebhookDelivery.leased_until > now)
        .correlate(turns)
        .scalar_subquery()
    )
    tried = select(func.max(Webhook.tried_at)).where(Webhook.tenant_id == turns.c.tenant_id)
    served = tried.correlate(turns).scalar_subquery()
    place = turns.c.of_tenant + under_way
    return (
        select(turns.c.id, turns.c.attempts)
        .where(place <= AT_ONCE_A_TENANT)
        .order_by(place, served.asc().nulls_first(), turns.c.next_attempt_at, turns.c.id)
        .limit(limit)
    )


def _claim(session: Session, delivery_id: str, attempts: int, now: datetime) -> bool:
    """Whether it is ours: of two senders that saw the same, the number of tries lets one through."""
    seconds = LEASE_FACTOR * get_settings().webhook_timeout_seconds
    statement = (
        update(WebhookDelivery)
        .where(
            WebhookDelivery.id == delivery_id,
            WebhookDelivery.status == "pending",
            WebhookDelivery.attempts == attempts,
        )
        .values(
            attempts=attempts + 1, leased_until=now + timedelta(seconds=seconds), last_attempt_at=now,
            response_status=None, error_code=None, duration_ms=None,
        )
        .execution_options(synchronize_session=False)
    )  # fmt: skip
    if session.execute(statement).rowcount != 1:  # type: ignore[attr-defined]
        return False
    of_webhook = select(WebhookDelivery.webhook_id).where(WebhookDelivery.id == delivery_id).scalar_subquery()
    _change(session, Webhook.id == of_webhook, tried_at=now)
    return True


def _owed(session: Session, delivery_id: str, now: datetime) -> Owed:
    query = select(WebhookDelivery, Webhook).join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
    delivery, webhook = session.execute(query.where(WebhookDelivery.id == delivery_id)).one()
    old = [kept["secret"] for kept in webhook.old_secrets if datetime.fromisoformat(kept["until"]) > now]
    return Owed(
        id=delivery.id,
        webhook_id=webhook.id,
        event=delivery.event,
        url=webhook.url,
        secrets=(webhook.secret, *old),
        body=delivery.body,
        attempt=delivery.attempts,
        retries=delivery.retries,
        claimed_at=now,
        created_at=delivery.created_at,
    )


def deliver(owed: Owed, send: Post = post) -> Outcome:
    """Try it and write down what became of it."""
    begun = monotonic()
    outcome = _tried(owed, send)
    milliseconds = round((monotonic() - begun) * 1000)
    with session_scope() as session:
        record(session, owed, outcome, milliseconds)
    return outcome


def _tried(owed: Owed, send: Post) -> Outcome:
    settings = get_settings()
    body = owed.body.encode()
    try:
        secrets = [unseal(stored) for stored in owed.secrets]
    except SecretUnreadable:
        return Outcome(error="secret_unreadable")
    # The time of this try: receivers refuse what is older than a few minutes.
    headers = signed_headers(secrets, owed.id, int(owed.claimed_at.timestamp()), body)
    return send(
        owed.url,
        body,
        {**headers, "User-Agent": AGENT},
        seconds=settings.webhook_timeout_seconds,
        allowed=parse_allowed(settings.webhook_allow),
    )


def record(session: Session, owed: Owed, outcome: Outcome, milliseconds: int = 0) -> bool:
    """Delivered, to be tried again, or failed. False if the lease was given to another meanwhile."""
    now = database_now(session)
    values: dict[str, Any] = {
        "leased_until": None,
        "response_status": outcome.status,
        "error_code": outcome.error,
        "duration_ms": milliseconds,
    }
    delay = None if outcome.arrived else _delay(owed, outcome, now)
    if delay is None:
        values |= {"status": "delivered" if outcome.arrived else "failed", "finished_at": now}
        values["next_attempt_at"] = None
    else:
        values |= {"next_attempt_at": now + timedelta(seconds=delay), "retries": owed.retries + 1}
    statement = (
        update(WebhookDelivery)
        .where(
            WebhookDelivery.id == owed.id,
            WebhookDelivery.status == "pending",
            WebhookDelivery.attempts == owed.attempt,
        )
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    if session.execute(statement).rowcount != 1:  # type: ignore[attr-defined]
        return False
    if outcome.arrived:
        _change(session, Webhook.id == owed.webhook_id, healthy_at=now)
    elif outcome.error == "gone":
        same = (Webhook.id == owed.webhook_id, Webhook.url == owed.url)
        _change(session, *same, enabled=False, disabled_reason="gone")
    elif delay is None and owed.event != TEST:
        # Nothing has arrived since this message was owed: not one message is at fault, but the receiver.
        dead = (Webhook.id == owed.webhook_id, Webhook.url == owed.url, Webhook.healthy_at <= owed.created_at)
        _change(session, *dead, Webhook.enabled, enabled=False, disabled_reason="failing")
    return True


def _delay(owed: Owed, outcome: Outcome, now: datetime) -> float | None:
    """Seconds until the next try; None if there is none: a test is tried once."""
    if owed.event == TEST or outcome.error == "gone":
        return None
    asked = seconds_asked(outcome.retry_after, now)
    return next_delay(get_settings().webhook_retry_seconds, owed.retries, asked)


def _change(session: Session, *which: Any, **values: Any) -> None:
    session.execute(
        update(Webhook).where(*which).values(**values).execution_options(synchronize_session=False)
    )


def redo(session: Session, delivery_ids: Sequence[str]) -> None:
    """Begin their schedule anew, due at once; what a sender is at right now is left to it."""
    now = database_now(session)
    idle = or_(WebhookDelivery.leased_until.is_(None), WebhookDelivery.leased_until <= now)
    session.execute(
        update(WebhookDelivery)
        .where(WebhookDelivery.id.in_(delivery_ids), idle)
        .values(status="pending", retries=0, next_attempt_at=now, finished_at=None)
        .execution_options(synchronize_session=False)
    )
