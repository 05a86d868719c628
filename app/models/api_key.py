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
    #: Some of read, write, admin; or of worker, worker:auto, worker:cpu, worker:cuda.
    scopes: Mapped[list[str]] = mapped_column(JSON)
    #: HMAC-SHA256 of the secret under the server's pepper, hexadecimal.
    digest: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: To the minute.
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
