"""Memory of the attempt's runner, as the attempt says it, for the heartbeat of the worker.

Memory of a GPU is asked for by the runner, the only process that may touch CUDA, and comes with its messages.
"""

from __future__ import annotations

from dfad_core.contract.machine import GpuMemory

_latest: tuple[int, GpuMemory | None] = (0, None)


def tell(runner_bytes: int, gpu: GpuMemory | None) -> None:
    """Set the memory that the runner holds, in bytes, and its GPU's; see `worker.hooks.gpu_memory`."""
    global _latest  # noqa: PLW0603  (one attempt a process; assigned whole, so that no reader sees half of it)
    _latest = (runner_bytes, gpu)


def told() -> tuple[int, GpuMemory | None]:
    """What `tell` set last: bytes of the runner, 0 if none runs, and its GPU."""
    return _latest
