"""Where a tenant wants to be told of its jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime


class Webhook(Base):
    """One receiver of a tenant, with the secret that its messages are signed with."""

    __tablename__ = "webhooks"
    __table_args__ = (
        Index("ix_webhooks_tenant_id_id", "tenant_id", "id"),
        Index("ix_webhooks_idempotency_key", "tenant_id", "idempotency_key", unique=True),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(64))
    url: Mapped[str] = mapped_column(String(2048))
    #: Names of events, or `job.*`.
    events: Mapped[list[str]] = mapped_column(JSON)
    description: Mapped[str] = mapped_column(String(256), default="")
    #: `metadata` of the contract.
    labels: Mapped[dict[str, str]] = mapped_column("metadata", JSON, default=dict)
    enabled: Mapped[bool] = mapped_column(default=True)
    #: Why the service disabled it: gone, failing. None where the user did, and while it is enabled.
    disabled_reason: Mapped[str | None] = mapped_column(String(32))
    #: As `app.webhooks.secrets` keeps it: it signs, so that it must be had again.
    secret: Mapped[str] = mapped_column(String(256))
    #: Replaced ones that still sign: [{"secret": …, "until": …}].
    old_secrets: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    #: When a delivery last arrived, or it was enabled: it is not disabled for messages older than this.
    healthy_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: When a sender last began a try; whose turn it is.
    tried_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    #: SHA-256 of the request that the key came with.
    idempotency_hash: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
