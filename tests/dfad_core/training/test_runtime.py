import os
from pathlib import Path

import pytest
import torch

from dfad_core.training import runtime


def _groups(tmp_path: Path, monkeypatch, lines: str, files: dict[str, str]) -> None:
    (tmp_path / "self").write_text(lines)
    for name, text in files.items():
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "root" / name).write_text(text)
    monkeypatch.setattr(runtime, "_CGROUP_OF_SELF", tmp_path / "self")
    monkeypatch.setattr(runtime, "_CGROUP_ROOT", tmp_path / "root")
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
    assert runtime.usable_processors() == expected


def test_no_control_groups_at_all(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(runtime, "_CGROUP_OF_SELF", tmp_path / "absent")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert runtime.usable_processors() == 3


def test_precision_follows_the_processor(tiny, monkeypatch) -> None:
    for capable, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda capable=capable: {"avx512_bf16": capable})
        resolved = runtime.resolve(tiny.config(precision="auto"))
        assert resolved.precision == expected
        assert resolved.autocast()._enabled == capable
    assert runtime.resolve(tiny.config(precision="bfloat16")).storage_dtype == torch.bfloat16


def test_threads_are_as_asked_or_as_many_as_may_be_used(tiny, monkeypatch) -> None:
    assert runtime.resolve(tiny.config(threads=5)).threads == 5
    monkeypatch.setattr(runtime, "usable_processors", lambda: 1)
    assert runtime.resolve(tiny.config(threads=0)).threads == 1
