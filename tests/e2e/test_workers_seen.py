"""Real workers, seen from the service: those that live, one that was killed, one that ended in order."""

from __future__ import annotations

import os
import signal

import pytest

from app.platform.db import read_scope
from app.platform.settings import get_settings
from app.workers.seen import SeenWorker, seen_workers
from testing.processes import wait_until
from testing.workers import Workers

LIGHT = "testing.light_worker"


def seen() -> dict[int | None, SeenWorker]:
    """Workers by process id."""
    with read_scope() as session:
        return {worker.row.report.pid: worker for worker in seen_workers(session)}


def alive() -> set[int | None]:
    return {pid for pid, worker in seen().items() if worker.alive}


def test_workers_come_end_and_are_killed(database: str, workers: Workers) -> None:
    """Two on a machine find each other. One that ends in order is gone at once, a killed one falls silent."""
    first = workers.start(LIGHT, DFAD_RUNNER_THREADS="")
    second = workers.start(LIGHT, DFAD_RUNNER_THREADS="")
    assert wait_until(lambda: alive() == {first.pid, second.pid}, 60), workers.log()
    processors = len(os.sched_getaffinity(0))
    if processors > 1:
        shared = {max(1, processors // 2)}
        assert wait_until(lambda: {w.row.report.threads for w in seen().values()} == shared, 30), seen()
    second.send_signal(signal.SIGTERM)
    assert second.wait(30) == 0
    assert set(seen()) == {first.pid}
    if processors > 1:
        assert wait_until(lambda: seen()[first.pid].row.report.threads == processors, 30), seen()
    workers.kill(first)
    assert wait_until(lambda: alive() == set(), 30), seen()
    assert set(seen()) == {first.pid}, "it is listed, with its age"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_other_ways_to_end(database: str, workers: Workers, number: int) -> None:
    worker = workers.start(LIGHT)
    assert wait_until(lambda: alive() == {worker.pid}, 60), workers.log()
    worker.send_signal(number)
    worker.wait(30)
    assert seen() == {}, get_settings().home
