"""Processors and memory of this process, by its affinity mask, its control groups and the machine."""

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


STAT = "anon 5\ninactive_file 300\ntotal_inactive_file 40\n"


@pytest.mark.parametrize(
    ("lines", "files", "left", "total"),
    [
        (
            "0::/a\n",
            {"a/memory.max": "max", "a/memory.current": "1", "a/memory.stat": STAT},
            5000 * 1024,
            None,
        ),
        ("0::/a\n", {"a/memory.max": "900", "a/memory.current": "700", "a/memory.stat": STAT}, 500, 900),
        ("0::/a/b\n", {"a/memory.max": "800", "a/memory.current": "700", "a/memory.stat": ""}, 100, 800),
        (
            "4:memory:/x\n",
            {
                "memory/x/memory.limit_in_bytes": "700",
                "memory/x/memory.usage_in_bytes": "500",
                "memory/x/memory.stat": STAT,
            },
            240,
            700,
        ),
        ("4:memory:/x\n", {"memory/x/memory.limit_in_bytes": str(2**63 - 4096)}, 5000 * 1024, None),
        ("4:cpu:/x\n", {}, 5000 * 1024, None),
    ],
)
def test_memory_by_the_machine_and_its_groups(tmp_path, monkeypatch, lines, files, left, total) -> None:
    _groups(tmp_path, monkeypatch, lines, files)
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    assert machine.free_memory() == left
    assert machine.total_memory() == (total or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def test_memory_of_a_process_that_may_hold_so_much(tmp_path, monkeypatch) -> None:
    _groups(tmp_path, monkeypatch, "0::/\n", {})
    (tmp_path / "statm").write_text("100 3 1 1 0 1 0\n")
    monkeypatch.setattr(machine, "STATM", tmp_path / "statm")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "absent")
    page = os.sysconf("SC_PAGE_SIZE")
    assert machine.free_memory() is None
    assert machine.free_memory(10 * page) == 7 * page
    assert machine.free_memory(2 * page) == 0


def test_the_processors_name(tmp_path, monkeypatch) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: A: fast one\nmodel name\t: other\n")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert machine.processor_name() == "A: fast one"
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "absent")
    assert machine.processor_name() is None
