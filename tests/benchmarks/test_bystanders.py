"""What other processes took is seen; what this one takes is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import bystanders
from benchmarks.bystanders import Bystanders


def test_counts_others_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat, clock, own = tmp_path / "stat", [0.0], [0.0]
    tick = bystanders.os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(bystanders, "_STAT", stat)
    monkeypatch.setattr(bystanders.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(bystanders.time, "process_time", lambda: own[0])
    stat.write_text("cpu 0 0 0 0 0 0 0 0 0 0\n")
    watch = Bystanders()
    stat.write_text(f"cpu {15 * tick} {tick} {2 * tick} 0 0 0 {tick} {tick} 0 0\n")
    clock[0], own[0] = 10.0, 15.0
    assert watch.processors() == pytest.approx(0.5)
    assert "0.5 processors" in (watch.warning() or "")
    own[0] = 20.0
    assert watch.processors() == 0.0
    assert watch.warning() is None


def test_other_systems_do_not_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bystanders, "_STAT", tmp_path / "absent")
    assert Bystanders().processors() is None
    assert Bystanders().warning() is None
