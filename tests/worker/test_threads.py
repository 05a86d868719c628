"""Threads of a runner: no more than there are processors, or a container's share of them."""

import os
import socket
import subprocess
from datetime import timedelta
from uuid import uuid4

import pytest

from app.models import WorkerBeat
from app.models.clock import steady_now
from app.platform.db import dispose_engine, session_scope
from app.platform.settings import Settings, get_settings
from dfad_core.contract import machine
from worker import threads
from worker.heartbeat import beat

V1 = "4:cpu,cpuacct:/docker/x\n"


@pytest.mark.parametrize(
    ("group", "files", "expected"),
    [
        ("0::/\n", {}, 64),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 64),
        ("0::/\n", {"cpu.max": "400000 100000\n"}, 4),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "10000 100000\n"}, 1),
        # A service of systemd: the quota is set on its own group, below the root.
        ("0::/system.slice/worker\n", {"system.slice/worker/cpu.max": "300000 100000\n"}, 3),
        (V1, {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        (V1, {"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_share_of_a_container(tmp_path, monkeypatch, database, group, files, expected):
    monkeypatch.delenv("DFAD_RUNNER_THREADS")
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "self").write_text(group)
    monkeypatch.setattr(machine, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(machine, "CGROUP_OF_SELF", tmp_path / "self")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert threads.runner_threads(Settings()) == expected
    assert threads.runner_threads(Settings(runner_threads=5)) == 5


@pytest.fixture
def large(database, monkeypatch):
    """A machine of 8 processors and 1000 bytes, whoever runs the test."""
    monkeypatch.delenv("DFAD_RUNNER_THREADS")
    get_settings.cache_clear()
    monkeypatch.setattr(threads, "usable_processors", lambda: 8)
    monkeypatch.setattr(threads, "total_memory", lambda: 1000)


def another(seconds_ago=0.0, **changes):
    """A row of a worker of this machine that lives, unless the changes say otherwise."""
    here = {"host": "a-container", "pid": 1, "processors_id": machine.processors_id()}
    about = {**here, "memory_id": machine.memory_id(), **changes}
    with session_scope() as session:
        seen = steady_now(session) - timedelta(seconds=seconds_ago)
        session.add(WorkerBeat(id=f"w{uuid4().hex}", seen_at=seen, details=about))


def test_workers_of_a_machine_share_its_processors_and_memory(large):
    settings = get_settings()
    beat()
    assert (threads.runner_threads(settings), threads.runner_memory(settings)) == (8, None)
    another()
    assert (threads.runner_threads(settings), threads.runner_memory(settings)) == (4, 500)
    another(pid=os.getppid(), host=socket.gethostname())
    assert (threads.runner_threads(settings), threads.runner_memory(settings)) == (2, 333)
    assert threads.runner_memory(settings.model_copy(update={"runner_memory_bytes": 700})) == 700


def test_workers_that_share_nothing_are_not_counted(large):
    ended = subprocess.Popen(["true"])
    ended.wait()
    another(processors_id="of another machine, or a quota", memory_id="another")
    another(processors_id=None, memory_id=None)  # of an earlier version
    another(seconds_ago=600)
    another(host=socket.gethostname(), pid=ended.pid)  # killed a moment ago
    another(host=socket.gethostname(), pid=os.getpid())  # a container that was started again
    assert (threads.runner_threads(get_settings()), threads.runner_memory(get_settings())) == (8, None)


def test_a_database_that_is_away_leaves_the_processors(home, monkeypatch):
    monkeypatch.setenv("DFAD_DATABASE_URL", "postgresql+psycopg://dfad@127.0.0.1:1/dfad")
    monkeypatch.delenv("DFAD_RUNNER_THREADS")
    monkeypatch.setattr(threads, "usable_processors", lambda: 8)
    assert threads.runner_threads(get_settings()) == 8
    dispose_engine()


def test_what_shares_processors(tmp_path, monkeypatch):
    """A quota of its own is a container's alone; without one it shares with all of the machine."""
    monkeypatch.setattr(machine, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(machine, "CGROUP_OF_SELF", tmp_path / "self")
    monkeypatch.setattr(machine, "CGROUP_NAMESPACE", tmp_path / "namespace")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "cpu.max").write_text("100000 100000\n")

    def worker(group, namespace):
        (tmp_path / "self").write_text(f"0::{group}\n")
        (tmp_path / "namespace").unlink(missing_ok=True)
        (tmp_path / "namespace").symlink_to(namespace)
        return machine.processors_id()

    assert worker("/b", "one") == worker("/", "two")
    assert worker("/a", "one") == worker("/a", "one")
    assert len({worker("/a", "one"), worker("/a", "two"), worker("/b", "one")}) == 3
    without_quota = worker("/b", "one")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3})
    assert worker("/b", "one") != without_quota
