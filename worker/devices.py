"""Which jobs this worker can run."""

from __future__ import annotations

from app.platform.settings import Settings
from dfad_core.contract.machine import has_gpu


def worker_devices(settings: Settings) -> tuple[str, ...]:
    """Values of a job's `device` that this worker takes: as set, else everything the machine can do."""
    if settings.worker_devices:
        return settings.worker_devices
    return ("auto", "cuda", "cpu") if has_gpu() else ("auto", "cpu")
