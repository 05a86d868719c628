"""What a change of a job owes the tenant's webhooks, written in the change's own transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.models import Job, Webhook, WebhookDelivery
from app.platform.ids import new_id

EventName = Literal[
    "job.queued",
    "job.running",
    "job.requeued",
    "job.pausing",
    "job.paused",
    "job.cancelling",
    "job.succeeded",
    "job.failed",
    "job.cancelled",
]
"""Changes of a job's state; what else its log holds is not sent."""
EVENTS = frozenset(get_args(EventName))
EVERYTHING = "job.*"
TEST = "webhook.test"


def owe(session: Session, job_id: str, event: str, seq: int, at: datetime) -> None:
    """Owe `event` to every enabled webhook of the job's tenant that asks for it."""
    if event not in EVENTS:
        return
    mine = select(Webhook.id, Webhook.events).join(Job, Job.tenant_id == Webhook.tenant_id)
    mine = mine.where(Job.id == job_id, Webhook.enabled)
    asking = [row.id for row in session.execute(mine) if event in row.events or EVERYTHING in row.events]
    if not asking:
        return
    about = select(Job.tenant_id, Job.status, Job.attempt, Job.error).where(Job.id == job_id)
    job = session.execute(about).one()
    data = {
        "id": job_id,
        "object": "job",
        "status": job.status,
        "attempt": job.attempt,
        "seq": seq,
        "error": {"code": job.error["code"]} if job.error else None,
        "url": f"/jobs/{job_id}",
    }
    body = body_of(event, at, data)
    session.add_all(new_delivery(w, job.tenant_id, event, body, at, job_id=job_id) for w in asking)


def body_of(event: str, at: datetime, data: Mapping[str, Any]) -> str:
    """A message as Standard Webhooks has it. Thin: who wants more asks for it with a key."""
    timestamp = at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"type": event, "timestamp": timestamp, "data": data}, separators=(",", ":"))


def new_delivery(
    webhook_id: str, tenant_id: str, event: str, body: str, at: datetime, *, job_id: str | None = None
) -> WebhookDelivery:
    """A message that is due at once."""
    return WebhookDelivery(
        id=new_id("dlv"),
        tenant_id=tenant_id,
        webhook_id=webhook_id,
        event=event,
        job_id=job_id,
        body=body,
        status="pending",
        next_attempt_at=at,
        created_at=at,
    )
