"""Which jobs this worker can run."""

from __future__ import annotations

import os

from app.config import Settings


def has_gpu() -> bool:
    """Whether the machine shows an NVIDIA device. CUDA itself is not touched: a fork would break it."""
    return os.path.exists("/dev/nvidiactl") and os.environ.get("CUDA_VISIBLE_DEVICES", "all") != ""


def worker_devices(settings: Settings) -> tuple[str, ...]:
    """Values of a job's `device` that this worker takes: as set, else everything the machine can do."""
    if settings.worker_devices:
        return settings.worker_devices
    return ("auto", "cuda", "cpu") if has_gpu() else ("auto", "cpu")
