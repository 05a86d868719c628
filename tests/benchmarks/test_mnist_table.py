"""The table runs what is missing, one process a run, and sums up over seeds."""

from __future__ import annotations

from benchmarks.mnist_table import Run, parse, summary
from dfad_core.contract.methods import METHODS


def _line(method: str, seed: int, accuracy: float, **changes: object) -> dict[str, object]:
    return {
        "time": "2026-01-01T00:00:00+00:00",
        "pair": "lenet5:lenet5_half",
        "method": method,
        "seed": seed,
        "budget_seconds": 120.0,
        "dataset": "mnist-test",
        "machine": {"threads": 1},
        "git_revision": "abc",
        "student_accuracy": accuracy,
        "steps": 10,
        "updates_a_round": 5,
        "others_processors": 0.0,
        "git_clean": True,
        "curve": [{"step": 10, "queries": 1280, "accuracy": accuracy}],
        **changes,
    }


def test_mean_and_spread_over_seeds_best_first() -> None:
    lines = [_line("dfad", 0, 0.90), _line("dfad", 1, 0.92), _line("best", 0, 0.98)]
    head, first, second = summary(lines).splitlines()
    assert head.split()[0] == "method"
    assert "at 50 updates" in head
    assert first.split() == ["best", "1", "98.00", "0.00", "98.00", "1280"]
    assert second.split() == ["dfad", "2", "91.00", "2.00", "91.00", "1280"]


def test_disturbed_and_incomplete_runs_are_marked() -> None:
    text = summary([_line("nayer", 0, 0.9, others_processors=1.0)])
    assert "nayer †‡" in text
    assert "neighbour" in text


def test_a_run_is_known_by_its_settings_and_revision() -> None:
    run = Run("best", 0, 120.0, "test", 1)
    assert run.is_in(_line("best", 0, 0.9), "abc")
    for change in (
        {"git_revision": "def"},
        {"machine": {"threads": 2}},
        {"budget_seconds": 60.0},
        {"dataset": "mnist-train"},
    ):
        assert not run.is_in(_line("best", 0, 0.9, **change), "abc")
    assert not run.is_in(_line("best", 1, 0.9), "abc")
    assert not run.is_in(_line("dfad", 0, 0.9), "abc")


def test_all_methods_unless_named() -> None:
    assert parse([]).methods == list(METHODS)
    assert parse(["--methods", "best", "dfad"]).methods == ["best", "dfad"]
