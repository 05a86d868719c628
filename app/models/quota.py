"""Quotas that the operator set while the service runs."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, String
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime


class StoredQuota(Base):
    """What one tenant may have, or everybody (`*`); see `app.access.quotas`. Null: not set here."""

    __tablename__ = "quotas"

    tenant_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    queued_jobs: Mapped[int | None] = mapped_column(BigInteger)
    running_jobs: Mapped[int | None] = mapped_column(BigInteger)
    stored_bytes: Mapped[int | None] = mapped_column(BigInteger)
    requests_per_minute: Mapped[int | None] = mapped_column(BigInteger)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
