"""Number of CPU threads of a runner."""

from __future__ import annotations

from app.config import Settings
from dfad_core.contract.machine import usable_processors


def runner_threads(settings: Settings) -> int:
    """The processors that this worker may use, shared with the other workers of the machine.

    Two torch processes with as many threads as there are processors run many times slower than one.
    """
    return settings.runner_threads or max(1, usable_processors() // settings.local_workers)
