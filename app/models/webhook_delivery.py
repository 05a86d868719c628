"""Messages that webhooks are owed, and what became of them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime


class WebhookDelivery(Base):
    """One message to one webhook, written with the change that it tells of.

    It names no job and no webhook by foreign key: a deleted job's end is still told, and a job's change
    never waits for somebody who changes a webhook.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        Index("ix_webhook_deliveries_webhook_id_id", "webhook_id", "id"),
        Index("ix_webhook_deliveries_status_next_attempt_at", "status", "next_attempt_at"),
        Index("ix_webhook_deliveries_leased_until", "leased_until"),
        Index("ix_webhook_deliveries_idempotency_key", "tenant_id", "idempotency_key", unique=True),
    )

    #: Also the `webhook-id` of every try: receivers tell doubled messages by it.
    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(64))
    webhook_id: Mapped[str] = mapped_column(String(40))
    event: Mapped[str] = mapped_column(String(64))
    job_id: Mapped[str | None] = mapped_column(String(40))
    #: The body, the same at every try.
    body: Mapped[str] = mapped_column(Text)
    #: pending, delivered, failed
    status: Mapped[str] = mapped_column(String(16))
    #: Tries in all. It also fences: a sender whose lease went to another writes nothing.
    attempts: Mapped[int] = mapped_column(default=0)
    #: How many times of the schedule are used up; sending it again by hand begins anew.
    retries: Mapped[int] = mapped_column(default=0)
    #: None once nothing more is to be tried.
    next_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: A sender is at it until then.
    leased_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_attempt_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Of the last try: the receiver's HTTP status, or why there was none.
    response_status: Mapped[int | None] = mapped_column()
    error_code: Mapped[str | None] = mapped_column(String(32))
    duration_ms: Mapped[int | None] = mapped_column()
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    #: SHA-256 of the request that the key came with.
    idempotency_hash: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
