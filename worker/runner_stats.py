"""Memory of the job's runner: written by the thread that watches it, read by the heartbeat.

Memory of a GPU is measured by the runner, the only process that may touch CUDA, and comes with its messages.
"""

from __future__ import annotations

from dataclasses import dataclass

from dfad_core.contract.machine import GpuMemory


@dataclass(frozen=True)
class RunnerStats:
    """Memory that a runner holds, in bytes, and its GPU; zero and none where no runner is."""

    resident_bytes: int = 0
    gpu: GpuMemory | None = None


_latest = RunnerStats()


def publish(stats: RunnerStats) -> None:
    """Replace the latest figures."""
    global _latest  # noqa: PLW0603  (one runner of a job a process; a reader sees all of it or nothing)
    _latest = stats


def latest() -> RunnerStats:
    """The figures that were published last."""
    return _latest
