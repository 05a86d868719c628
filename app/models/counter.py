"""What is counted for ever, whatever becomes of the rows that it was about."""

from __future__ import annotations

from sqlalchemy import Float, String
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base


class Counter(Base):
    """One number that only grows; see `app.telemetry.counters`."""

    __tablename__ = "counters"

    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    #: Values of the labels, joined by a bar.
    labels: Mapped[str] = mapped_column(String(128), primary_key=True, default="")
    value: Mapped[float] = mapped_column(Float, default=0.0)
