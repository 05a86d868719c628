"""`Prefer: wait=N`: answer when something has changed, or after N seconds with what there is."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

import anyio
from starlette.concurrency import run_in_threadpool

MAX_WAIT_SECONDS = 60.0
LOOK_SECONDS = 0.25

stopping = threading.Event()
"""Set when the server is told to end: who waits gets what there is, before connections are cut."""


def wanted_wait(prefer: str | None) -> float:
    """Seconds asked for in a Prefer header (RFC 7240), bounded; 0 if none."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\b", prefer or "")
    return min(float(found.group(1)), MAX_WAIT_SECONDS) if found else 0.0


async def wait_until(met: Callable[[], bool], seconds: float) -> None:
    """Look every quarter of a second; between looks neither thread nor transaction is held."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stopping.is_set() and not await run_in_threadpool(met):
        await anyio.sleep(min(LOOK_SECONDS, max(0.0, end - time.monotonic())))
