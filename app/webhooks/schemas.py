"""Webhooks as they are asked for and shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, StringConstraints

from app.http.fields import Labels, Strict
from app.http.pagination import Page
from app.platform.network_addresses import parse_allowed
from app.platform.settings import get_settings
from app.webhooks.owing import EventName
from app.webhooks.sending import ErrorCode
from app.webhooks.urls import MAX_CHARACTERS, check_url

ENDS: tuple[EventName, ...] = ("job.succeeded", "job.failed", "job.cancelled")
DeliveryStatus = Literal["pending", "delivered", "failed"]


def _reachable(url: str) -> str:
    check_url(url, parse_allowed(get_settings().webhook_allow))
    return url


Url = Annotated[
    str,
    Field(
        description="https:// is recommended. No address or host of a private network, no user name, and a "
        "port of 443, 80 or above 1023.",
        json_schema_extra={"format": "uri", "maxLength": MAX_CHARACTERS},
    ),
    AfterValidator(_reachable),
]
Events = Annotated[list[EventName | Literal["job.*"]], Field(min_length=1, max_length=20)]
Description = Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00-\x1f\x7f]*$")]


class WebhookRequest(Strict):
    """Where to send what."""

    url: Url
    events: Events = Field(default=list(ENDS))
    """Changes of a job's state; `job.*`: all of them. Default: the three ends."""
    description: Description = ""
    metadata: Labels = Field(default={})


class WebhookPatch(Strict):
    """What to change; the rest stays. What is pending goes to the new URL."""

    url: Url | None = None
    events: Events | None = None
    description: Description | None = None
    metadata: Labels | None = None
    enabled: bool | None = None


class WebhookView(BaseModel):
    """A webhook, without its secret."""

    id: str
    object: str = "webhook"
    tenant_id: str
    url: str
    events: list[str]
    description: str
    metadata: dict[str, str]
    enabled: bool
    disabled_reason: Literal["gone", "failing"] | None
    """Why the service disabled it: the receiver answered 410, or nothing arrived for three days."""
    created_at: datetime


class NewWebhookView(WebhookView):
    """A webhook with the secret that its messages are signed with. It is shown this once."""

    secret: str


class WebhookList(Page[WebhookView]):
    """A page of webhooks, newest first."""


class DeliveryView(BaseModel):
    """One message to one webhook, and what became of it."""

    id: str
    """Also the message's `webhook-id`, the same at every try."""
    object: str = "webhook_delivery"
    webhook_id: str
    event: str
    job_id: str | None
    status: DeliveryStatus
    attempts: int
    response_status: int | None
    """Of the last try; None if there was no answer."""
    error_code: ErrorCode | None
    """Why the last try failed."""
    duration_ms: int | None
    created_at: datetime
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None
    finished_at: datetime | None


class DeliveryList(Page[DeliveryView]):
    """A page of a webhook's deliveries, newest first."""
