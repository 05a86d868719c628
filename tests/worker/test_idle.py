"""A worker that is started by need ends by itself once it is idle, and never while it works."""

import os
import subprocess
import sys
import time

import pytest

from app.platform.settings import Settings
from worker import idle
from worker.rounds import Rounds, job_running


class _Task(Rounds):
    """A round that looks how idle the worker is in the middle of a task."""

    def _round(self):
        with self._task(teacher_id="t"):
            time.sleep(0.05)
            self.seen = idle.idle_seconds()
        self._end.set()
        return False


def test_what_counts_as_work():
    idle.IdleEnd(3600)
    with job_running():
        time.sleep(0.05)
        assert idle.idle_seconds() == 0
    time.sleep(0.05)
    assert idle.idle_seconds() > 0
    task = _Task("inspector")
    task.run()
    assert task.seen == 0
    with idle.working():
        with idle.working():
            pass
        assert idle.idle_seconds() == 0  # one of two goes on


def test_an_idle_worker_ends_in_order(database, tmp_path):
    settings = {"DFAD_LEASE_SECONDS": "3", "DFAD_REPUBLISH_SECONDS": "0.1", "DFAD_WORKER_IDLE_SECONDS": "3.2"}
    environment = {**os.environ, **settings, "DFAD_LOG_FORMAT": "json"}
    worker = [sys.executable, "-m", "worker"]
    ended = subprocess.run(worker, env=environment, capture_output=True, text=True, timeout=90, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "the worker ends" in ended.stderr


def test_a_worker_waits_for_longer_than_a_lost_message(home):
    Settings(worker_idle_seconds=121)
    with pytest.raises(ValueError, match="DFAD_WORKER_IDLE_SECONDS"):
        Settings(worker_idle_seconds=120)
