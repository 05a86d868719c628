"""How many CPU threads a runner may have."""

from __future__ import annotations

import os

from app.config import Settings


def runner_threads(settings: Settings) -> int:
    """The processors this worker may use, shared with the other workers of the machine.

    Two torch processes with as many threads as there are processors run many times slower than one.
    """
    if settings.runner_threads:
        return settings.runner_threads
    return max(1, len(os.sched_getaffinity(0)) // settings.local_workers)
