"""How many CPU threads a runner may have."""

from __future__ import annotations

import math
import os
from pathlib import Path

from app.config import Settings

CGROUP = Path("/sys/fs/cgroup")


def runner_threads(settings: Settings) -> int:
    """The processors this worker may use, shared with the other workers of the machine.

    Two torch processes with as many threads as there are processors run many times slower than one.
    """
    if settings.runner_threads:
        return settings.runner_threads
    return max(1, min(len(os.sched_getaffinity(0)), _allotted(CGROUP)) // settings.local_workers)


def _allotted(cgroup: Path) -> int:
    """Processors' worth of time that a container was given; many where there is no bound.

    A container that is limited so sees all processors of its machine.
    """
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:  # the first version of the kernel's interface
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{what}_us").read_text().strip() for what in ("quota", "period")
            )
        except OSError:
            return 2**16
    # "max" and -1 say that there is no bound.
    return math.ceil(int(quota) / int(period)) if quota.isdecimal() else 2**16
