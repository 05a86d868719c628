"""How busy the machine was with other things while a time was taken."""

from __future__ import annotations

import os
import time
from pathlib import Path

_STAT = Path("/proc/stat")
WORTH_A_WORD = 0.1
"""Processors kept busy by others above which times should not be trusted."""


class Bystanders:
    """From construction on: the mean number of processors that other processes kept busy.

    With `children`, what this process has started is its own; ask while it is still there.
    """

    def __init__(self, *, children: bool = False) -> None:
        self._own_seconds = _with_children if children else time.process_time
        self._elapsed, self._busy, self._own = time.monotonic(), _busy_seconds(), self._own_seconds()

    def processors(self) -> float | None:
        """Until now; None where the system does not say."""
        busy = _busy_seconds()
        if busy is None or self._busy is None:
            return None
        elapsed = time.monotonic() - self._elapsed
        others = (busy - self._busy) - (self._own_seconds() - self._own)
        return max(0.0, others / elapsed) if elapsed > 0 else 0.0

    def warning(self) -> str | None:
        """A sentence, if others took so much that the run should be repeated."""
        found = self.processors()
        if found is None or found < WORTH_A_WORD:
            return None
        return f"warning: other processes kept {found:.1f} processors busy; times are not to be trusted"


def _with_children() -> float:
    """Processor time of this process and of all below it, those included that ended and were waited for."""
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
    """Of all processors together since the start of the system, stolen time of the host included."""
    if not _STAT.is_file():
        return None
    user, nice, system, _idle, _wait, irq, soft, steal = map(int, _STAT.read_text().split()[1:9])
    return (user + nice + system + irq + soft + steal) / os.sysconf("SC_CLK_TCK")
