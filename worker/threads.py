"""CPU threads and memory of a runner, shared with the other workers of the machine."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path

from app.models.worker_beat import WorkerReport
from app.platform.settings import Settings
from dfad_core.contract.machine import memory_id, processors_id, total_memory, usable_processors
from worker.service import AWAY
from worker.this_service import get_service

logger = logging.getLogger(__name__)


def runner_threads(settings: Settings) -> int:
    """The processors that this worker may use, shared with the living workers that use the same ones.

    Two torch processes with as many threads as there are processors run many times slower than one.
    """
    if settings.runner_threads:
        return settings.runner_threads
    own = processors_id()
    return max(1, usable_processors() // _workers(lambda report: report.processors_id == own))


def runner_memory(settings: Settings) -> int | None:
    """Memory that a runner may hold: as set, else its share among workers that have the same; None: all."""
    if settings.runner_memory_bytes is not None:
        return settings.runner_memory_bytes
    own = memory_id()
    sharing = _workers(lambda report: report.memory_id == own)
    return None if sharing == 1 else total_memory() // sharing


def _workers(shares: Callable[[WorkerReport], bool]) -> int:
    """Number of living workers for which that holds, this one included; 1 while the service is away."""
    try:
        reports = get_service().worker_reports()
    except AWAY as error:
        logger.warning("the service is away (%s); other workers are not counted", type(error).__name__)
        return 1
    return 1 + sum(shares(report) and not _is_this_one_or_dead(report) for report in reports)


def _is_this_one_or_dead(report: WorkerReport) -> bool:
    """Whether a report is of this worker, of an earlier life of it, or of a process that was killed here."""
    if report.host != socket.gethostname() or report.pid is None:
        return False
    return report.pid == os.getpid() or not Path(f"/proc/{report.pid}").exists()
