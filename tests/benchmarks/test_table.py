"""Committed lines become rows."""

from __future__ import annotations

from pathlib import Path

from benchmarks.table import accuracy_table, read, step_time_table

COMMON = {
    "machine": {"cpu": "a cpu", "threads": 2},
    "git_revision": "0123456789abcdef",
    "git_clean": True,
    "pair": "a:b",
}


def test_rows() -> None:
    run = {**COMMON, "dataset": "mnist-test", "method": "auto", "seconds": 119.6, "seed": 0}
    run |= {"teacher_accuracy": 0.9904, "student_accuracy": 0.975}
    row = accuracy_table([run]).splitlines()[-1]
    assert row == "| mnist-test | a:b | auto | 120 | 0 | 99.04 | 97.50 | 2 threads of a cpu | 0123456789 |"
    time = {**COMMON, "git_clean": False, "batch_size": 512, "generator_width": 64, "plain_seconds": 3.0}
    time |= {"engine_seconds": 0.5, "engine_with_pool_seconds": 0.3, "ratio": 6.0, "ratio_with_pool": 10.0}
    row = step_time_table([time]).splitlines()[-1]
    assert row.startswith("| a:b | 512 | 64 | 3.000 | 0.500 | 0.300 | 6.0 | 10.0 |")
    assert row.endswith("0123456789 and changes |")


def test_no_results_yet(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl") == []
