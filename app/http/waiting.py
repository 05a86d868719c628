"""`Prefer: wait=N`: answer when something has changed, or after N seconds with what there is."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Callable
from types import FrameType, MethodType
from typing import Any

MAX_WAIT_SECONDS = 60.0
LOOK_SECONDS = 0.25
"""Between two looks for news at the most; see `app.jobs.news`."""

stopping = threading.Event()
"""Set when the server is told to end: who waits gets what there is, before connections are cut."""


def stop_with_the_server() -> None:
    """From now on a signal that ends the server lets those go who wait for news, before it waits for them."""
    if threading.current_thread() is not threading.main_thread():
        return  # signals are not heard there, and the server is no process of its own
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.getsignal(number)
        if isinstance(before, MethodType):
            signal.signal(number, _stopping_before(before))


def _stopping_before(before: MethodType) -> Callable[[int, FrameType | None], Any]:
    """A handler that is still a method of the server: event streams find it by that, to end with it."""

    def handle(_server: object, number: int, frame: FrameType | None) -> None:
        stopping.set()
        before(number, frame)

    return MethodType(handle, before.__self__)


def wanted_wait(prefer: str | None) -> float:
    """Seconds asked for in a Prefer header (RFC 7240), bounded; 0 if none."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\b", prefer or "")
    return min(float(found.group(1)), MAX_WAIT_SECONDS) if found else 0.0
