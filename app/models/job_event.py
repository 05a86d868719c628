"""The append-only log of a job."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, BigInteger, ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime
from dfad_core.contract.serialization import JsonObject


class JobEvent(Base):
    """One thing that happened to a job; `seq` counts from 1 without gaps."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    #: job.queued, job.running, job.succeeded …; phase; progress; samples; checkpoint; warning.
    type: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    data: Mapped[JsonObject] = mapped_column(JSON, default=dict)
