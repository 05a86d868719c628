"""Which workers are alive."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from app.db import Base, UtcDateTime


class WorkerBeat(Base):
    """One row a worker, refreshed on every round of its reconciler."""

    __tablename__ = "worker_beats"

    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: {"devices": ["cpu"], "takes": ["auto", "cpu"], "threads": 2, "host": …, "pid": …, "runner_bytes": …,
    #: "gpu": None or {"name": …, "used_bytes": …, "total_bytes": …}}
    details: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
