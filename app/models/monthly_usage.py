"""What a tenant used in a month, whatever becomes of its jobs."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Float, String
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime


class MonthlyUsage(Base):
    """Sums of one tenant and one month (UTC); see `app.access.usage.counts`."""

    __tablename__ = "monthly_usage"

    tenant_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: As in `2026-11`.
    month: Mapped[str] = mapped_column(String(7), primary_key=True)
    jobs_submitted: Mapped[int] = mapped_column(BigInteger, default=0)
    jobs_succeeded: Mapped[int] = mapped_column(BigInteger, default=0)
    #: Of attempts that ended in the month, however they ended.
    cpu_seconds: Mapped[float] = mapped_column(Float, default=0.0)
    cuda_seconds: Mapped[float] = mapped_column(Float, default=0.0)
    requests: Mapped[int] = mapped_column(BigInteger, default=0)
    #: The largest of the values measured in the month, and when it was last measured.
    peak_stored_bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    measured_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
