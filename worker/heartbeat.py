"""The signs of life of a worker: renewed while it lives and taken away as it ends.

A thread of its own and not a part of the reconciler: a broker that hangs must not make a worker look dead. A
worker that was killed leaves its row, which ages.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable

from app.models.worker_beat import WorkerReport
from app.platform.settings import get_settings
from dfad_core import __version__
from dfad_core.contract.machine import memory_id, processors_id
from worker import runner_stats
from worker.devices import worker_devices
from worker.manifest import revision
from worker.service import AWAY
from worker.this_service import get_service
from worker.threads import runner_threads

logger = logging.getLogger(__name__)

END_SECONDS = 5.0
"""For the last word: a service that hangs must not hold up the end."""


class Heartbeat(threading.Thread):
    """Says that the worker lives every `heartbeat_seconds`."""

    def __init__(self) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._end = threading.Event()

    def run(self) -> None:
        """Until `close`; then the worker is off the list."""
        while not self._end.is_set():
            self._try(beat)
            self._end.wait(get_service().heartbeat_seconds)
        self._try(leave)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except AWAY as error:
            logger.warning("the service is away (%s); no sign of life", type(error).__name__)
        except Exception:
            # One that fails must not end all that are to come.
            logger.exception("a sign of life failed")

    def close(self) -> None:
        """Say that this worker ends, as far as the service lets it."""
        self._end.set()
        if self.is_alive():
            self.join(END_SECONDS)


def beat() -> None:
    """Say that this worker lives, and what it is."""
    settings = get_settings()
    takes, stats = worker_devices(settings), runner_stats.latest()
    report = WorkerReport(
        devices=tuple(device for device in takes if device != "auto"),
        takes=tuple(takes),
        threads=runner_threads(settings),
        host=socket.gethostname(),
        pid=os.getpid(),
        version=__version__,
        revision=revision(),
        processors_id=processors_id(),
        memory_id=memory_id(),
        runner_bytes=stats.resident_bytes,
        gpu=stats.gpu,
    )
    get_service().sign_of_life(report)


def leave() -> None:
    """Take this worker off the list."""
    get_service().leave()
