from pathlib import Path
from typing import Any

from benchmarks import table
from benchmarks.plots import draw

MACHINE = {"threads": 2, "cpu": "a CPU"}


def _line(method: str = "best", seed: int = 0, accuracy: float = 0.9, **changes: Any) -> dict[str, Any]:
    return {
        "dataset": "mnist-test",
        "pair": "a:b",
        "method": method,
        "budget_seconds": 120.0,
        "seconds": 117.2,
        "seed": seed,
        "teacher_accuracy": 0.99,
        "student_accuracy": accuracy,
        "steps": 1000,
        "curve": [{"seconds": s, "queries": 10 * s, "accuracy": accuracy * s / 20} for s in (10, 20)],
        "machine": MACHINE,
        "git_revision": "0123456789abcdef",
        "git_clean": True,
        **changes,
    }


def test_mean_spread_and_gap_over_seeds_best_first() -> None:
    lines = [_line("dfad", 0, 0.90), _line("dfad", 1, 0.92), _line("best", 0, 0.985)]
    rows = table.method_table(lines).splitlines()
    assert rows[2] == "| best | 1 | 98.50 | 0.00 | 0.50 | 1,000 | 200 | 0123456789 |"
    assert rows[3] == "| dfad | 2 | 91.00 | 2.00 | 8.00 | 1,000 | 200 | 0123456789 |"


def test_settings_do_not_mix() -> None:
    lines = [_line(), _line(budget_seconds=600.0), _line(machine={**MACHINE, "threads": 1}), _line(seed=1)]
    assert [len(runs) for runs in table.by_setting(lines).values()] == [2, 1, 1]
    old = _line()
    del old["budget_seconds"]
    assert table.setting(old) == table.setting(_line())


def test_lines_without_queries_or_of_changed_code() -> None:
    line = _line(git_clean=False, curve=[{"seconds": 1.0, "accuracy": 0.5}])
    assert table.method_table([line]).splitlines()[2].endswith("| - | 0123456789 and changes |")


def test_plots_are_the_same_bytes_again(tmp_path: Path) -> None:
    lines = [_line(m, s, 0.9 + 0.01 * s) for m in ("best", "dfad", "dafl") for s in (0, 1)]
    names = table.plot_names(lines)
    assert set(names) == {"mnist-test-a-b-120s-2-seconds.svg", "mnist-test-a-b-120s-2-queries.svg"}
    for name, (against, runs, title) in names.items():
        for folder in ("1", "2"):
            draw(runs, tmp_path / folder / name, against, title)
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
        assert "best" in (tmp_path / "1" / name).read_text()


def test_the_committed_page_is_made_from_the_committed_lines() -> None:
    page = table.README.read_text(encoding="utf-8")
    assert page == table.filled(page, table.report())
    for name in table.plot_names(table.accuracy_lines()):
        assert (table.RESULTS / "plots" / name).is_file()


def test_only_what_is_between_the_markers_changes() -> None:
    page = f"before\n{table.BEGIN}\nold\n{table.END}\nafter\n"
    assert table.filled(page, "new") == f"before\n{table.BEGIN}\n\nnew\n\n{table.END}\nafter\n"


def test_a_row_of_step_times() -> None:
    line = {**_line(git_clean=False), "batch_size": 512, "generator_width": 64, "plain_seconds": 3.0}
    line |= {"engine_seconds": 0.5, "engine_with_pool_seconds": 0.3, "ratio": 6.0, "ratio_with_pool": 10.0}
    row = table.step_time_table([line]).splitlines()[-1]
    assert row.startswith("| a:b | 512 | 64 | 3.000 | 0.500 | 0.300 | 6.0 | 10.0 |")
    assert row.endswith("0123456789 and changes |")


def test_no_results_yet(tmp_path: Path) -> None:
    assert table.read(tmp_path / "none.jsonl") == []
