"""CPU threads and memory of a runner."""

from __future__ import annotations

from app.config import Settings
from dfad_core.contract.machine import total_memory, usable_processors


def runner_threads(settings: Settings) -> int:
    """The processors that this worker may use, shared with the other workers of the machine.

    Two torch processes with as many threads as there are processors run many times slower than one.
    """
    return settings.runner_threads or max(1, usable_processors() // settings.local_workers)


def runner_memory(settings: Settings) -> int | None:
    """Memory that a runner may hold: as set, else its share among several local workers; None: all."""
    if settings.runner_memory_bytes is not None or settings.local_workers == 1:
        return settings.runner_memory_bytes
    return total_memory() // settings.local_workers
