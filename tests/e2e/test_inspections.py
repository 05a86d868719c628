"""Inspections by real workers: beside a job, after a kill, and none that outlives its worker."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from app.messaging.dispatch import send_due
from app.models import Teacher
from app.platform.db import read_scope
from app.platform.settings import get_settings
from testing.processes import below, wait_until

#: It ends when it is cancelled.
ENDLESS = {
    "budget": {"steps": 1_000_000},
    "training": {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8},
}
SLOW_READER = """
import sys, time
sys.path.insert(0, {root!r})
from worker.process import RunnerProcess
RunnerProcess.program = ({reader!r},)
from worker.__main__ import main
main()
"""
READER = """
import os, pathlib, sys, time
sys.path.insert(0, {root!r})
from worker.protocol import Message, read_message, write_message
out = os.fdopen(int(sys.argv[1]), "wb")
read_message(sys.stdin.buffer)
begun = pathlib.Path({begun!r})
first = not begun.exists()
begun.write_text(str(os.getpid()))
if first:
    time.sleep(600)
write_message(out, Message("result", {{"inspection": {{"num_classes": 10}}}}))
"""
ROOT = Path(__file__).resolve().parents[2]


def teacher(teacher_id):
    with read_scope() as session:
        return session.get_one(Teacher, teacher_id)


@pytest.mark.usefixtures("database")
def test_a_teacher_is_inspected_while_the_worker_trains(workers, stored_jobs):
    job_id = stored_jobs.submit(**ENDLESS)
    send_due()
    worker = workers.start(DFAD_RUNNER_THREADS="2")
    stored_jobs.wait(job_id, lambda row: row.step > 5, 120)
    teacher_id = stored_jobs.teacher()
    assert wait_until(lambda: teacher(teacher_id).status == "ready", 120)
    row = stored_jobs.row(job_id)
    assert (row.status, row.attempt) == ("running", 1)
    assert teacher(teacher_id).inspection["timing"]["threads"] == 1
    # The job trains on beside it and after it.
    stored_jobs.wait(job_id, lambda later: later.step > row.step, 60)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0
    assert stored_jobs.row(job_id).status == "queued"


@pytest.mark.services
@pytest.mark.usefixtures("short_leases")
def test_and_on_postgres_and_redis(postgres, redis, workers, stored_jobs, monkeypatch):
    monkeypatch.setenv("DFAD_DATABASE_URL", postgres)
    monkeypatch.setenv("DFAD_BROKER_URL", redis)
    get_settings.cache_clear()
    job_id = stored_jobs.submit(**ENDLESS)
    send_due()
    workers.start()
    workers.start()
    stored_jobs.wait(job_id, lambda row: row.step > 5, 120)
    ids = [stored_jobs.teacher() for _ in range(4)]
    assert wait_until(lambda: [teacher(i).status for i in ids] == ["ready"] * 4, 120)
    assert stored_jobs.row(job_id).status == "running"


@pytest.fixture
def slow_reader(workers, tmp_path):
    """Starts a worker whose first reader never ends; with the place of that reader's process id."""
    (tmp_path / "reader.py").write_text(READER.format(root=str(ROOT), begun=str(tmp_path / "begun")))
    module = tmp_path / "slow_worker.py"
    module.write_text(SLOW_READER.format(root=str(ROOT), reader=str(tmp_path / "reader.py")))

    def start():
        # The worker's folder is that of the module.
        return workers.start("slow_worker", PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}")

    return start, tmp_path / "begun"


@pytest.mark.usefixtures("database")
def test_a_worker_that_is_killed_leaves_it_to_another(workers, stored_jobs, slow_reader):
    start, begun = slow_reader
    teacher_id = stored_jobs.teacher()
    worker = start()
    assert wait_until(begun.exists, 60)
    assert teacher(teacher_id).status == "inspecting"
    reader = int(begun.read_text())
    workers.kill(worker)
    start()
    assert wait_until(lambda: not Path(f"/proc/{reader}").exists()), "the reader outlived its worker"
    assert wait_until(lambda: teacher(teacher_id).status == "ready", 60)


@pytest.mark.usefixtures("database")
def test_a_second_ctrl_c_ends_a_worker_whose_runner_hears_nothing(workers, stored_jobs, slow_reader):
    start, begun = slow_reader
    job_id = stored_jobs.submit()
    send_due()
    worker = start()
    assert wait_until(begun.exists, 60)
    runner = int(begun.read_text())
    stored_jobs.wait(job_id, lambda row: row.status == "running", 60)
    worker.send_signal(signal.SIGINT)
    time.sleep(1)
    assert worker.poll() is None  # it waits for the runner to save itself
    worker.send_signal(signal.SIGINT)
    assert worker.wait(timeout=10) == -signal.SIGINT
    assert wait_until(lambda: not Path(f"/proc/{runner}").exists()), "the runner outlived its worker"


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_that_is_told_to_end_gives_it_back_and_leaves_nothing(
    workers, stored_jobs, slow_reader, number, home
):
    start, begun = slow_reader
    teacher_id = stored_jobs.teacher()
    worker = start()
    assert wait_until(begun.exists, 60)
    everybody = below(worker.pid)
    worker.send_signal(number)
    assert worker.wait(timeout=60) == 0
    assert wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in everybody))
    row = teacher(teacher_id)
    assert (row.status, row.inspector) == ("inspecting", None)
    assert list((home / "scratch").iterdir()) == []
    start()
    assert wait_until(lambda: teacher(teacher_id).status == "ready", 60)
