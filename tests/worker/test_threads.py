"""Threads of a runner: no more than there are processors, or a container's share of them."""

import os

import pytest

from app.config import Settings
from worker import threads


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 64),
        ({"cpu.max": "max 100000\n"}, 64),
        ({"cpu.max": "400000 100000\n"}, 4),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 64),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
    ],
)
def test_share_of_a_container(tmp_path, monkeypatch, files, expected):
    for name in [n for n in os.environ if n.startswith("DFAD_")]:
        monkeypatch.delenv(name)
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(threads, "CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    assert threads.runner_threads(Settings()) == expected
    assert threads.runner_threads(Settings(local_workers=2)) == max(1, expected // 2)
    assert threads.runner_threads(Settings(runner_threads=5)) == 5
