"""Uploaded teachers."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime
from dfad_core.contract.serialization import JsonObject


class Teacher(Base):
    """One uploaded model: its bytes are the artifact `artifact_id`."""

    __tablename__ = "teachers"
    __table_args__ = (
        Index("ix_teachers_tenant_id_id", "tenant_id", "id"),
        Index("ix_teachers_idempotency_key", "tenant_id", "idempotency_key", unique=True),
        Index("ix_teachers_status_inspect_after", "status", "inspect_after"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(64))
    #: No foreign key: artifacts point to jobs and jobs to teachers; a circle helps nobody.
    artifact_id: Mapped[str] = mapped_column(String(40))
    #: What the client called the file: display text, never a path.
    filename: Mapped[str] = mapped_column(String(255))
    #: inspecting, ready, rejected
    status: Mapped[str] = mapped_column(String(16))
    #: The `teacher` part of a spec as asked (format, architecture, num_classes, input).
    spec: Mapped[JsonObject] = mapped_column(JSON, default=dict)
    #: What the inspection found: architecture, parameters, classes, norm layers, notes.
    inspection: Mapped[JsonObject | None] = mapped_column(JSON)
    error: Mapped[JsonObject | None] = mapped_column(JSON)
    #: Nobody begins to inspect it before then: its claim lasts so long, or its job is to read it anyway.
    inspect_after: Mapped[datetime] = mapped_column(UtcDateTime, server_default="1970-01-01 00:00:00")
    #: The worker that has claimed its inspection.
    inspector: Mapped[str | None] = mapped_column(String(128))
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    #: SHA-256 of the request that the key came with.
    idempotency_hash: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: The row stays for the jobs that it taught; its bytes are gone.
    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
