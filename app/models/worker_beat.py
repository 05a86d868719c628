"""Which workers are alive."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import JSON, String
from sqlalchemy.orm import Mapped, mapped_column

from app.platform.db import Base, UtcDateTime
from dfad_core.contract.machine import GpuMemory
from dfad_core.contract.serialization import JsonObject, from_json


@dataclass(frozen=True)
class WorkerReport:
    """What a worker says of itself; one of an earlier version may say less."""

    devices: tuple[str, ...] = ()
    """Devices that it computes on: cpu, cuda."""
    takes: tuple[str, ...] = ()
    """Devices of jobs that it takes: those and auto."""
    threads: int | None = None
    """CPU threads of a job that begins now."""
    host: str = "?"
    pid: int | None = None
    version: str | None = None
    revision: str | None = None
    """Revision of its sources."""
    processors_id: str | None = None
    memory_id: str | None = None
    """Processors and memory that it may use, equal for workers that share them; see
    `dfad_core.contract.machine`."""
    runner_bytes: int = 0
    """Memory that its runner holds; 0: none runs."""
    gpu: GpuMemory | None = None
    """Of the runner's GPU; None while no runner holds one."""


class WorkerBeat(Base):
    """One row a worker, renewed by its heartbeat and deleted as it ends."""

    __tablename__ = "worker_beats"

    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    #: The JSON of a WorkerReport.
    details: Mapped[JsonObject] = mapped_column(JSON, default=dict)

    @property
    def report(self) -> WorkerReport:
        """`details`, read."""
        return from_json(WorkerReport, self.details)
