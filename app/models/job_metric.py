"""The series that plots are drawn from."""

from __future__ import annotations

from sqlalchemy import JSON, BigInteger, ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base


class JobMetric(Base):
    """One reading of a job's series at a step. A resumed attempt overwrites what it repeats."""

    __tablename__ = "job_metrics"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    #: Training time until then, over all attempts.
    seconds: Mapped[float] = mapped_column()
    series: Mapped[dict[str, float]] = mapped_column(JSON)
