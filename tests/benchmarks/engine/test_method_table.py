"""Rows of methods: which are incomplete, which were disturbed, and how they compare at equal work."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.engine.method_table import (
    accuracy_at,
    common_amounts,
    equal_seconds_rows,
    equal_work_rows,
    legend,
    methods_of,
)
from benchmarks.engine.recipe_facts import UNRECORDED_REVISION, facts_of_line, recipe_facts, updates_a_round
from dfad_core.contract.config import DistillConfig, InputConfig, MethodConfig
from dfad_core.contract.methods import METHODS


def _line(method: str = "best", seed: int = 0, accuracy: float = 0.9, **changes: Any) -> dict[str, Any]:
    return {
        "time": "2026-01-01T00:00:00+00:00",
        "pair": "lenet5:lenet5_half",
        "method": method,
        "seed": seed,
        "teacher_accuracy": 0.99,
        "student_accuracy": accuracy,
        "steps": 20,
        "updates_a_round": 5,
        "others_processors": 0.0,
        "curve": [
            {"step": step, "queries": 100 * step, "accuracy": accuracy * step / 20} for step in (10, 20)
        ],
        "git_revision": "0123456789abcdef",
        "git_clean": True,
        **changes,
    }


def _row(line: dict[str, Any]) -> dict[str, str]:
    head, rows = equal_seconds_rows(methods_of([line]))
    return dict(zip(head, rows[0], strict=True))


def _facts(method: str, *, bn: bool) -> dict[str, Any]:
    config = DistillConfig(InputConfig((1, 28, 28)), method=MethodConfig(method))
    return recipe_facts(config, teacher_has_bn=bn)


def test_methods_that_lose_their_bn_terms_with_a_teacher_without_bn() -> None:
    incomplete = {name for name in METHODS if _facts(name, bn=False)["missing_terms"]}
    known = {"nayer", "fast", "dfq", "mad", "cmi", "deepinversion", "spaceshipnet", "auto", "noise"}
    assert incomplete == known
    assert "contrast" in _facts("cmi", bn=False)["missing_terms"]
    assert not any(_facts(name, bn=True)["missing_terms"] for name in METHODS)


def test_the_default_trains_no_generator_without_bn() -> None:
    assert _facts("best", bn=True)["image_source"] == "generator"
    assert _facts("best", bn=False) == {"image_source": "collages", "missing_terms": []}


def test_rows_are_marked() -> None:
    assert _row(_line())["method"] == "best"
    assert _row(_line(others_processors=0.11))["method"] == "best ‡"
    assert _row(_line("dfq"))["method"] == "dfq †"
    assert _row(_line("dfq", pair="resnet8:cnn8"))["method"] == "dfq"
    both = _row(_line("dfq", others_processors=1.0))
    assert (both["method"], both["switched off"], both["other processes"]) == (
        "dfq †‡",
        "BN statistics",
        "1.00",
    )
    assert "Incomplete" in legend(methods_of([_line("dfq")]))
    assert legend(methods_of([_line()])) == ""


def test_a_recorded_line_keeps_its_own_facts() -> None:
    line = _line("dfq", image_source="search", missing_terms=["a term"])
    assert facts_of_line(line) == {"image_source": "search", "missing_terms": ["a term"]}


def test_one_row_a_method_of_its_newest_revision_without_a_neighbour() -> None:
    lines = [
        _line(accuracy=0.5, git_revision="old", time="2025-01-01T00:00:00+00:00"),
        _line(accuracy=0.8),
        _line(accuracy=0.7, others_processors=1.0, time="2026-01-02T00:00:00+00:00"),
        _line(seed=1, accuracy=0.9),
    ]
    assert [line["student_accuracy"] for line in methods_of(lines)[0].lines] == [0.8, 0.9]


def test_accuracy_between_two_measurements() -> None:
    line = _line(accuracy=0.8)
    assert accuracy_at(line, "student_updates", 75) == pytest.approx(0.6)
    assert accuracy_at(line, "queries", 1000) == pytest.approx(0.4)
    assert accuracy_at(line, "queries", 999) is None
    assert accuracy_at(line, "queries", 2001) is None
    assert accuracy_at(line, "pflop", 1) is None
    line["checkpoints"] = [{"step": 15, "queries": 1500, "accuracy": 0.7}]
    assert accuracy_at(line, "queries", 1750) == pytest.approx(0.75)


def test_equal_work_is_the_smallest_that_a_run_ends_with_and_the_median() -> None:
    long = _line("dfad", accuracy=0.8, updates_a_round=20)
    short = _line("cmi", accuracy=0.4, curve=[{"step": 6, "queries": 1200, "accuracy": 0.4}], steps=6)
    middle = _line("best", accuracy=0.6, curve=[{"step": 6, "accuracy": 0.3}, {"step": 20, "accuracy": 0.6}])
    methods = methods_of([long, short, middle])
    assert common_amounts(methods, "student_updates") == [30, 100]
    assert common_amounts(methods, "pflop") == []
    head, rows = equal_work_rows(methods)
    assert head == (
        "method",
        "at 30 student updates",
        "at 100 student updates",
        "at 1,200 teacher queries",
    )
    by_method = {row[0].split()[0]: row[1:] for row in rows}
    assert by_method["best"] == ("30.00", "60.00", "not recorded")
    assert by_method["cmi"] == ("40.00", "ended at 30", "40.00")
    assert by_method["dfad"] == ("not recorded", "not recorded", "48.00")


def test_some_seeds_only() -> None:
    first, second = _line(accuracy=0.8), _line(seed=1, accuracy=0.8)
    second["curve"] = second["curve"][1:]
    other = _line("dfad", accuracy=0.1, curve=[{"step": 10, "queries": 1500, "accuracy": 0.1}])
    _, rows = equal_work_rows(methods_of([first, second, other]))
    assert rows[0][1:] == ("40.00 (1 of 2 seeds)", "60.00 (1 of 2 seeds)")


def test_updates_that_a_line_does_not_record() -> None:
    old = _line("cmi", git_revision=f"{UNRECORDED_REVISION}0000")
    del old["updates_a_round"]
    assert updates_a_round(old) == 200
    old["git_revision"] = "another"
    assert updates_a_round(old) is None
    assert _row(old)["student updates"] == "not recorded"
