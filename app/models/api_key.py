"""Keys that open the service."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime


class ApiKey(Base):
    """One key of a tenant. The secret itself is not kept, only its HMAC."""

    __tablename__ = "api_keys"
    __table_args__ = (Index("ix_api_keys_tenant_id_id", "tenant_id", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(64))
    name: Mapped[str] = mapped_column(String(128))
    #: Some of read, write, admin, metrics; or of worker, worker:auto, worker:cpu, worker:cuda.
    scopes: Mapped[list[str]] = mapped_column(JSON)
    #: HMAC-SHA256 of the secret under the server's pepper, hexadecimal.
    digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Of the secret that `digest` is of, to the minute.
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Number of the secret that `digest` is of: 1, and one more at each rotation.
    secret_number: Mapped[int] = mapped_column(default=1, server_default="1")
    #: When that secret was made, if it was not with the key.
    rotated_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: The secret before it, until its time is over.
    previous_number: Mapped[int | None] = mapped_column()
    previous_digest: Mapped[str | None] = mapped_column(String(64))
    previous_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    previous_last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
