"""Who moves bytes from one store to another."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime


class StoreMove(Base):
    """One row while somebody moves bytes: a lease that lapses where its owner dies."""

    __tablename__ = "store_moves"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    owner: Mapped[str] = mapped_column(String(64))
    #: On the steady clock.
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
