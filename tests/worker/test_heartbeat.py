"""Signs of life: renewed while a worker lives, gone when it ends, and nothing that fails ends them."""

import os
import time

from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from app.models import WorkerBeat
from app.platform.db import read_scope
from app.platform.settings import Settings
from dfad_core.contract.machine import GpuMemory
from worker import heartbeat, runner_stats
from worker.heartbeat import Heartbeat, beat, leave
from worker.runner_stats import RunnerStats


def rows():
    with read_scope() as session:
        return list(session.scalars(select(WorkerBeat)))


def test_a_worker_says_what_it_is(each_database):
    beat()
    beat()
    (row,) = rows()
    report = row.report
    assert report.pid == os.getpid()
    assert "cpu" in report.devices
    assert report.version
    assert report.processors_id
    leave()
    assert rows() == []


def test_it_tells_the_memory_of_the_runner(database):
    gpu = GpuMemory("NVIDIA H100 80GB HBM3", used_bytes=5 * 2**30, total_bytes=80 * 2**30)
    runner_stats.publish(RunnerStats(7 * 2**30, gpu))
    try:
        beat()
    finally:
        runner_stats.publish(RunnerStats())
    (row,) = rows()
    assert (row.report.runner_bytes, row.report.gpu) == (7 * 2**30, gpu)
    beat()
    (row,) = rows()
    assert (row.report.runner_bytes, row.report.gpu) == (0, None)


def test_it_renews_and_ends(database, monkeypatch, until):
    monkeypatch.setattr(Settings, "heartbeat_seconds", 0.05)
    thread = Heartbeat()
    thread.start()
    assert until(rows)
    first = rows()[0].seen_at
    assert until(lambda: rows()[0].seen_at > first)
    thread.close()
    assert rows() == []


def test_what_fails_does_not_end_it(database, monkeypatch, until):
    monkeypatch.setattr(Settings, "heartbeat_seconds", 0.02)
    tries = []

    def flaky():
        tries.append(1)
        if len(tries) == 1:
            raise OperationalError("UPDATE", {}, Exception("the database is away"))
        if len(tries) == 2:
            raise RuntimeError("a fault")
        beat()

    monkeypatch.setattr(heartbeat, "beat", flaky)
    thread = Heartbeat()
    thread.start()
    assert until(rows)
    thread.close()


def test_a_database_that_hangs_does_not_hold_up_the_end(database, monkeypatch):
    monkeypatch.setattr(heartbeat, "END_SECONDS", 0.1)
    monkeypatch.setattr(heartbeat, "leave", lambda: time.sleep(60))
    thread = Heartbeat()
    thread.start()
    begun = time.monotonic()
    thread.close()
    assert time.monotonic() - begun < 30


def test_one_that_never_began_ends(home):
    Heartbeat().close()
