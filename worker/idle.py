"""The end of a worker that has had nothing to do for long, where whoever started it starts others by need."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5

_lock = threading.Lock()
_under_way = 0
_since = time.monotonic()


@contextmanager
def working() -> Iterator[None]:
    """For the block this worker does something for somebody: a job, an inspection, a message to a webhook."""
    global _under_way, _since  # noqa: PLW0603  (one process is one worker)
    with _lock:
        _under_way += 1
    try:
        yield
    finally:
        with _lock:
            _under_way -= 1
            _since = time.monotonic()


def idle_seconds() -> float:
    """Seconds since the last work ended, or since the start; 0 while there is some."""
    with _lock:
        return 0.0 if _under_way else time.monotonic() - _since


class IdleEnd(threading.Thread):
    """Shuts the worker down, as SIGTERM does, once it has been idle for `limit` seconds.

    A job that comes in this very moment is given back at once, or not claimed.
    """

    def __init__(self, limit: float) -> None:
        super().__init__(name="idle-end", daemon=True)
        self._limit = limit

    def run(self) -> None:
        """Until then."""
        while idle_seconds() < self._limit:
            time.sleep(LOOK_SECONDS)
        logger.info("nothing to do for %.0f s: the worker ends", self._limit)
        os.kill(os.getpid(), signal.SIGTERM)
