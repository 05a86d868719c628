"""Load by other processes is measured; that of this process is not part of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import machine_load
from benchmarks.machine_load import LOAD_LIMIT, MachineLoad, is_neighbour, warning


def test_only_others_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat, clock, own = tmp_path / "stat", [0.0], [0.0]
    tick = machine_load.os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(machine_load, "_STAT", stat)
    monkeypatch.setattr(machine_load.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(machine_load.time, "process_time", lambda: own[0])
    stat.write_text("cpu 0 0 0 0 0 0 0 0 0 0\n")
    load = MachineLoad()
    stat.write_text(f"cpu {15 * tick} {tick} {2 * tick} 0 0 0 {tick} {tick} 0 0\n")
    clock[0], own[0] = 10.0, 15.0
    assert load.processors() == pytest.approx(0.5)
    assert load.figures() == {"others_processors": 0.5, "neighbour": True}
    assert "0.5 processors" in (warning(load.figures()) or "")
    own[0] = 20.0
    assert load.figures() == {"others_processors": 0.0, "neighbour": False}
    assert warning(load.figures()) is None


def test_the_limit_itself_is_no_neighbour() -> None:
    assert not is_neighbour(LOAD_LIMIT)
    assert is_neighbour(LOAD_LIMIT + 0.01)


def test_a_system_without_the_file_reports_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_load, "_STAT", tmp_path / "absent")
    assert MachineLoad().figures() == {"others_processors": None, "neighbour": None}
    assert warning(MachineLoad().figures()) is None
