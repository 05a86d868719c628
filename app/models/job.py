"""The jobs table: one row a request, and the whole truth about it."""

from __future__ import annotations

from datetime import datetime
from typing import TypedDict

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, UniqueConstraint, false
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime
from dfad_core.contract.serialization import JsonObject


class PhaseCount(TypedDict):
    """How far evaluation or export is."""

    done: int
    total: int
    unit: str
    """What is counted: images or formats."""


class Measurement(TypedDict):
    """Accuracy on labelled images that came after a job's end: how far that is."""

    status: str
    """waiting, succeeded or failed"""
    filename: str
    """What the client called the file of images."""
    sha256: str
    """Of that file."""
    asked_at: str
    """RFC 3339."""
    finished_at: str | None
    error: JsonObject | None
    """{code, message, param?} of a failed one."""


class Job(Base):
    """A request to distil one teacher into one student."""

    __tablename__ = "jobs"
    __table_args__ = (
        UniqueConstraint("tenant_id", "idempotency_key"),
        Index("ix_jobs_tenant_id_id", "tenant_id", "id"),
        Index("ix_jobs_tenant_id_status_id", "tenant_id", "status", "id"),
        Index("ix_jobs_status_id", "status", "id"),
        Index("ix_jobs_status_run_after", "status", "run_after"),
        Index("ix_jobs_status_lease", "status", "lease_expires_at"),
        Index("ix_jobs_tenant_id_started_at", "tenant_id", "started_at"),
    )

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    tenant_id: Mapped[str] = mapped_column(String(64))
    teacher_id: Mapped[str] = mapped_column(ForeignKey("teachers.id"), index=True)
    #: A value of `app.models.job_states.Status`.
    status: Mapped[str] = mapped_column(String(16))
    #: Inside running: loading, warming_up, distilling, evaluating, exporting.
    phase: Mapped[str | None] = mapped_column(String(16))
    #: Number of the latest execution; 0 before the first claim.
    attempt: Mapped[int] = mapped_column(default=0)
    #: Grows with every claim; a write with an older fence is refused.
    fence: Mapped[int] = mapped_column(default=0)
    lease_owner: Mapped[str | None] = mapped_column(String(128))
    lease_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: When the latest attempt was claimed, on the steady clock, and the device that it runs on: cpu or cuda.
    attempt_started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    attempt_device: Mapped[str | None] = mapped_column(String(8))
    #: Not claimed before this time (back-off).
    run_after: Mapped[datetime] = mapped_column(UtcDateTime)
    #: What it waits for until then, if not for its turn: storage_full.
    waiting_reason: Mapped[str | None] = mapped_column(String(32))
    #: When its message was last sent; the reconciler sends again what nobody claims.
    announced_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: None, "cancel" or "pause": what the user asked of a running job.
    stop_requested: Mapped[str | None] = mapped_column(String(16))
    #: As asked, and with every default filled in.
    spec: Mapped[JsonObject] = mapped_column(JSON)
    resolved_spec: Mapped[JsonObject] = mapped_column(JSON)
    #: `metadata` of the contract (SQLAlchemy keeps that name for itself).
    labels: Mapped[dict[str, str]] = mapped_column("metadata", JSON, default=dict)
    #: Higher ones first, among the tenant's own.
    priority: Mapped[int] = mapped_column(default=0)
    #: auto, cpu or cuda: which workers may take it.
    device: Mapped[str] = mapped_column(String(8), default="auto")
    #: When its first attempt began, on the steady clock: deadlines count from there.
    clock_started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: Since when it is paused, on that clock, and for how long it was before: its deadline stands still
    #: meanwhile.
    paused_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    paused_seconds: Mapped[float] = mapped_column(default=0.0)
    step: Mapped[int] = mapped_column(BigInteger, default=0)
    total_steps: Mapped[int] = mapped_column(BigInteger, default=0)
    #: Of the training, as its runner counts it: by the clock where the budget is in seconds.
    percent: Mapped[float | None] = mapped_column()
    #: {done, total, unit} of evaluation and export, while they go on.
    phase_progress: Mapped[PhaseCount | None] = mapped_column(JSON)
    #: Expected time to the job's end.
    eta_seconds: Mapped[float | None] = mapped_column()
    #: The latest values of each series.
    metrics: Mapped[dict[str, float]] = mapped_column(JSON, default=dict)
    result: Mapped[JsonObject | None] = mapped_column(JSON)
    #: The latest measurement after the job's end; its figures are the result's `accuracy`.
    measurement: Mapped[Measurement | None] = mapped_column(JSON)
    #: A measurement waits; nobody begins it before then, for its claim lasts so long.
    measure_after: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    #: The worker that has claimed it.
    measurer: Mapped[str | None] = mapped_column(String(128))
    #: How many claims there were, but for those given back.
    measure_attempt: Mapped[int | None]
    #: {code, message, param?} of a failed job.
    error: Mapped[JsonObject | None] = mapped_column(JSON)
    #: seq of its newest event.
    last_seq: Mapped[int] = mapped_column(BigInteger, default=0)
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    #: SHA-256 of the request that the key came with.
    idempotency_hash: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    #: When it may be deleted with its artifacts; None while it is not over, is kept, or for ever.
    expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime, index=True)
    #: The user wants it kept beyond the usual time.
    keep: Mapped[bool] = mapped_column(default=False, server_default=false())
