"""Load of the machine by other processes while a benchmark runs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

_STAT = Path("/proc/stat")
LOAD_LIMIT = 0.1
"""Processors kept busy by other processes above which a measurement counts as disturbed."""


class MachineLoad:
    """Mean number of processors that other processes have kept busy since construction.

    `children`: descendants of this process do not count as others. Read the figures while they still run.
    """

    def __init__(self, *, children: bool = False) -> None:
        self._own_seconds = _with_children if children else time.process_time
        self._elapsed, self._busy, self._own = time.monotonic(), _busy_seconds(), self._own_seconds()

    def processors(self) -> float | None:
        """Until now; None where the system does not report it."""
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return None
        elapsed = time.monotonic() - self._elapsed
        others = (busy - self._busy) - (self._own_seconds() - self._own)
        return max(0.0, others / elapsed) if elapsed > 0 else 0.0

    def figures(self) -> dict[str, Any]:
        """The fields of a result line: `others_processors`, and `neighbour` where that is over the limit.

        `neighbour` is None where the system does not report the load.
        """
        busy = self.processors()
        if busy is None:
            return {"others_processors": None, "neighbour": None}
        return {"others_processors": round(busy, 2), "neighbour": is_neighbour(busy)}


def is_neighbour(processors: float) -> bool:
    """Whether this much load by others disturbs a measurement."""
    return round(processors, 2) > LOAD_LIMIT


def warning(figures: dict[str, Any]) -> str | None:
    """A sentence for the terminal where `figures` of a `MachineLoad` show a neighbour."""
    if not figures["neighbour"]:
        return None
    return (
        f"warning: other processes kept {figures['others_processors']:.1f} processors busy; the result line "
        "is marked `neighbour`, and its times are not comparable"
    )


def _with_children() -> float:
    """Processor seconds of this process and its descendants, ended and reaped ones included."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        pid = int(stat.parent.name)
        parents[pid], ticks[pid] = int(fields[1]), sum(map(int, fields[11:15]))
    below = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(ticks.get(pid, 0) for pid in below) / os.sysconf("SC_CLK_TCK")


def _busy_seconds() -> float | None:
    """Busy seconds of all processors since the system started, time stolen by the host included."""
    if not _STAT.is_file():
        return None
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, _STAT.read_text().split()[1:9])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
