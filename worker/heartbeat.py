"""The signs of life of a worker: a row that is renewed while it lives and taken away as it ends.

A thread of its own and not a part of the reconciler: a broker that hangs must not make a worker look dead. A
worker that was killed leaves its row, which ages.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable

from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError

from app.models import WorkerBeat
from app.models.clock import steady_now
from app.models.worker_beat import WorkerReport
from app.platform.db import session_scope
from app.platform.settings import get_settings
from dfad_core import __version__
from dfad_core.contract.machine import memory_id, processors_id
from dfad_core.contract.serialization import to_json
from worker import runner_stats
from worker.devices import worker_devices
from worker.identity import owner
from worker.manifest import revision
from worker.threads import runner_threads

logger = logging.getLogger(__name__)

END_SECONDS = 5.0
"""For the last word: a database that hangs must not hold up the end."""


class Heartbeat(threading.Thread):
    """Renews the worker's row every `heartbeat_seconds`."""

    def __init__(self) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._end = threading.Event()

    def run(self) -> None:
        """Until `close`; then the row is gone."""
        while not self._end.is_set():
            self._try(beat)
            self._end.wait(get_settings().heartbeat_seconds)
        self._try(leave)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except SQLAlchemyError as error:
            logger.warning("the database is away (%s); no sign of life", type(error).__name__)
        except Exception:
            # One that fails must not end all that are to come.
            logger.exception("a sign of life failed")

    def close(self) -> None:
        """Say that this worker ends, as far as the database lets it."""
        self._end.set()
        if self.is_alive():
            self.join(END_SECONDS)


def beat() -> None:
    """Write that this worker lives, and what it is."""
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
    with session_scope() as session:
        session.merge(WorkerBeat(id=owner(), seen_at=steady_now(session), details=to_json(report)))


def leave() -> None:
    """Take this worker's row away."""
    with session_scope() as session:
        session.execute(delete(WorkerBeat).where(WorkerBeat.id == owner()))
