"""Messages that a committed transaction owes the broker."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime


class OutboxMessage(Base):
    """Written with the change it announces, deleted once it is sent. Sending twice is harmless."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_due_at", "due_at"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    #: Celery task name.
    task: Mapped[str] = mapped_column(String(64))
    #: Celery queue: that of the workers that can do it.
    queue: Mapped[str] = mapped_column(String(32))
    #: The one argument: a job or teacher id.
    subject_id: Mapped[str] = mapped_column(String(40))
    #: Not sent before (back-off of a retried job).
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
