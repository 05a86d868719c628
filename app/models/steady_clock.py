"""The beginning of SQLite's steady clock."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime


class SteadyClock(Base):
    """One row, of the machine's present boot; see `app.models.clock`."""

    __tablename__ = "steady_clock"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    boot_id: Mapped[str] = mapped_column(String(64))
    #: What the steady clock showed as the boot began: time of day then, as this row was written.
    booted_at: Mapped[datetime] = mapped_column(UtcDateTime)
