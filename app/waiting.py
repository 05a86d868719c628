"""`Prefer: wait=N`: answer when something has changed, or after N seconds with what there is."""

from __future__ import annotations

import re
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType, MethodType
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool

MAX_WAIT_SECONDS = 60.0
LOOK_SECONDS = 0.25

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


async def wait_until(met: Callable[[], bool], seconds: float) -> None:
    """Look every quarter of a second; between looks neither thread nor transaction is held."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stopping.is_set() and not await run_in_threadpool(met):
        await anyio.sleep(min(LOOK_SECONDS, max(0.0, end - time.monotonic())))
