"""One job at a time on a GPU: the lock is held by the runner, for as long as it lives."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from worker import gpu_lock

HOLDER = """
import sys, time
print("holding", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_lock, "has_gpu", lambda: True)
    monkeypatch.setattr(gpu_lock, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(gpu_lock.tempfile, "gettempdir", lambda: str(tmp_path))


def never():
    return False


def always():
    return True


def test_the_second_waits_for_the_first():
    """Tried: with `_taken` always true both were inside at once."""
    order = []

    def second():
        with gpu_lock.gpu_lock(never) as held:
            assert held
            order.append("second")

    thread = threading.Thread(target=second)
    with gpu_lock.gpu_lock(never):
        thread.start()
        thread.join(timeout=0.3)
        assert thread.is_alive()
        order.append("first")
    thread.join(timeout=10)
    assert order == ["first", "second"]


def test_who_waits_can_be_called_off():
    with gpu_lock.gpu_lock(never), gpu_lock.gpu_lock(always) as held:
        assert held is None


def test_different_gpus_do_not_wait_for_each_other(monkeypatch):
    with gpu_lock.gpu_lock(never):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        with gpu_lock.gpu_lock(always) as held:
            assert held


def test_a_runner_holds_it_beyond_its_supervisors_end():
    """The supervisor's descriptor is closed, the runner still computes: nobody else may."""
    with gpu_lock.gpu_lock(never) as held:
        runner = subprocess.Popen([sys.executable, "-c", HOLDER], pass_fds=held, stdout=subprocess.PIPE)
        assert runner.stdout.readline() == b"holding\n"
    with gpu_lock.gpu_lock(always) as other:
        assert other is None
    os.kill(runner.pid, signal.SIGKILL)
    runner.communicate()
    with gpu_lock.gpu_lock(always) as other:
        assert other


def test_without_a_gpu_there_is_nothing_to_hold(monkeypatch):
    monkeypatch.setattr(gpu_lock, "has_gpu", never)
    with gpu_lock.gpu_lock(never) as held:
        assert held == ()
