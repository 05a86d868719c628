"""Processors of this process: no more than its affinity mask, and its control groups' share of them."""

import os
from pathlib import Path

import pytest

from dfad_core.contract import machine


def _groups(tmp_path: Path, monkeypatch, lines: str, files: dict[str, str]) -> None:
    (tmp_path / "self").write_text(lines)
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    monkeypatch.setattr(machine, "CGROUP_OF_SELF", tmp_path / "self")
    monkeypatch.setattr(machine, "CGROUP_ROOT", tmp_path / "root")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)


@pytest.mark.parametrize(
    ("lines", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "250000 100000"}, 3),
        ("0::/a\n", {"a/cpu.max": "50000 100000"}, 1),
        ("0::/a\n", {"a/cpu.max": "max 100000"}, 8),
        ("0::/a\n", {"a/cpu.max": "1600000 100000"}, 8),
        ("0::/a\n", {}, 8),
        ("4:cpu,cpuacct:/x\n", {"cpu/x/cpu.cfs_quota_us": "200000", "cpu/x/cpu.cfs_period_us": "100000"}, 2),
        ("4:cpu:/x\n", {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"}, 8),
        ("5:memory:/x\n", {}, 8),
    ],
)
def test_processors_by_affinity_and_quota(tmp_path, monkeypatch, lines, files, expected) -> None:
    _groups(tmp_path, monkeypatch, lines, files)
    assert machine.usable_processors() == expected


def test_no_control_groups_at_all(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(machine, "CGROUP_OF_SELF", tmp_path / "absent")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert machine.usable_processors() == 3


def test_the_processors_name(tmp_path, monkeypatch) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A: fast one\nmodel name\t: other\n")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert machine.processor_name() == "A: fast one"
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "absent")
    assert machine.processor_name() is None
