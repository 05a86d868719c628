"""Threads of a runner: no more than there are processors, or a container's share of them."""

import os

import pytest

from app.config import Settings
from dfad_core.contract import machine
from worker import threads

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
def test_share_of_a_container(tmp_path, monkeypatch, group, files, expected):
    for name in [n for n in os.environ if n.startswith("DFAD_")]:
        monkeypatch.delenv(name)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "self").write_text(group)
    monkeypatch.setattr(machine, "CGROUP_ROOT", tmp_path)
    monkeypatch.setattr(machine, "CGROUP_OF_SELF", tmp_path / "self")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert threads.runner_threads(Settings()) == expected
    assert threads.runner_threads(Settings(local_workers=2)) == max(1, expected // 2)
    assert threads.runner_threads(Settings(runner_threads=5)) == 5


def test_memory_as_set_or_a_share_of_the_machine(monkeypatch):
    monkeypatch.setattr(threads, "total_memory", lambda: 1000)
    assert threads.runner_memory(Settings()) is None
    assert threads.runner_memory(Settings(local_workers=4)) == 250
    assert threads.runner_memory(Settings(local_workers=4, runner_memory_bytes=700)) == 700
