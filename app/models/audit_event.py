"""Who changed what."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, String, false
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime


class AuditEvent(Base):
    """One request that may have changed something, with its outcome. Never updated."""

    __tablename__ = "audit_events"
    __table_args__ = (Index("ix_audit_events_tenant_id_id", "tenant_id", "id"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    #: The tenant it was done for; None where nobody signed in.
    tenant_id: Mapped[str | None] = mapped_column(String(64))
    #: The key it came with; None for the operator's own, and where there was no right one.
    key_id: Mapped[str | None] = mapped_column(String(40))
    #: Which secret of the key it was.
    secret_number: Mapped[int | None] = mapped_column()
    #: The person who did it: the subject that the sign-in provider knows them by.
    person: Mapped[str | None] = mapped_column(String(255))
    #: Whether the operator did it.
    operator: Mapped[bool] = mapped_column(default=False, server_default=false())
    #: `POST /jobs/job_…/cancel`
    action: Mapped[str] = mapped_column(String(200))
    #: Id of what was made or changed, if that was one thing with an id.
    subject_id: Mapped[str | None] = mapped_column(String(40))
    #: HTTP status of the answer.
    status: Mapped[int] = mapped_column()
    request_id: Mapped[str] = mapped_column(String(40))
    #: Address that the request came from.
    address: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
