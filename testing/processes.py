"""Processes by their parents and names, as /proc has them, and waiting for what they do."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

LIGHT_RUNNER = b"light_runner"


def below(pid: int) -> list[int]:
    """All processes that `pid` started, and theirs, parents first."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
                if fields[0] != "Z":
                    parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def is_engine_runner(pid: int) -> bool:
    """Whether it is a runner with an engine."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "dfad-runner"
    return False


def is_light_runner(pid: int) -> bool:
    """Whether it is a runner without an engine (`testing.light_runner`)."""
    with contextlib.suppress(OSError):
        return LIGHT_RUNNER in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def is_runner(pid: int) -> bool:
    """Whether it is a runner, with an engine or without."""
    return is_engine_runner(pid) or is_light_runner(pid)


def signal_all(pid: int, number: int) -> None:
    """The same signal to a process and to all below it."""
    for one in [pid, *below(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, number)


def kill_all(pid: int) -> None:
    """SIGKILL to a process and to all below it, as an out-of-memory killer or a power cut does."""
    signal_all(pid, signal.SIGKILL)


def wait_until(holds: Callable[[], object], seconds: float = 30) -> bool:
    """Whether `holds()` became true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return False
