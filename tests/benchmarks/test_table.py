import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import table
from benchmarks.engine import colour_figures
from benchmarks.plots import draw
from benchmarks.record import read
from dfad_core.contract.methods import METHODS

BEST = METHODS["best"].title
MACHINE = {"threads": 2, "cpu": "a CPU"}


def _line(method: str = "best", seed: int = 0, accuracy: float = 0.9, **changes: Any) -> dict[str, Any]:
    return {
        "time": "2026-01-01T00:00:00+00:00",
        "dataset": "mnist-test",
        "pair": "a:b",
        "method": method,
        "budget_seconds": 120.0,
        "seconds": 117.2,
        "seed": seed,
        "teacher_accuracy": 0.99,
        "student_accuracy": accuracy,
        "steps": 1000,
        "updates_a_round": 5,
        "image_source": "generator",
        "missing_terms": [],
        "others_processors": 0.02,
        "curve": [
            {"seconds": s, "step": 50 * s, "queries": 10 * s, "accuracy": accuracy * s / 20} for s in (10, 20)
        ],
        "machine": MACHINE,
        "git_revision": "0123456789abcdef",
        "git_clean": True,
        **changes,
    }


def test_mean_spread_and_gap_over_seeds_best_first() -> None:
    lines = [_line("dfad", 0, 0.90), _line("dfad", 1, 0.92), _line("best", 0, 0.985)]
    rows = table.method_tables(lines).splitlines()
    tail = "- | 0.02 | 0123456789 |"
    assert rows[2] == f"| best | generator | 1 | 98.50 | 0.00 | 0.50 | 1,000 | 5,000 | 200 | {tail}"
    assert rows[3] == f"| dfad | generator | 2 | 91.00 | 2.00 | 8.00 | 1,000 | 5,000 | 200 | {tail}"


def test_methods_of_one_setting_are_compared_at_equal_work_too() -> None:
    lines = [_line("dfad", updates_a_round=20), _line("best", 0, 0.985)]
    rows = table.method_tables(lines).splitlines()
    assert "| method | at 5,000 student updates | at 200 teacher queries |" in rows
    assert "| best | 98.50 | 98.50 |" in rows
    assert "| dfad | not recorded | 90.00 |" in rows  # its curve begins at 10,000 updates


def test_settings_do_not_mix() -> None:
    lines = [_line(), _line(budget_seconds=600.0), _line(machine={**MACHINE, "threads": 1}), _line(seed=1)]
    assert [len(runs) for runs in table.by_setting(lines).values()] == [2, 1, 1]
    old = _line()
    del old["budget_seconds"]
    assert table.setting(old) == table.setting(_line())


def test_lines_without_queries_or_of_changed_code() -> None:
    line = _line(git_clean=False, curve=[{"seconds": 1.0, "accuracy": 0.5}])
    row = table.method_tables([line]).splitlines()[2]
    assert row.endswith("| not recorded | not recorded | - | 0.02 | 0123456789 and changes |")


def test_plots_are_the_same_bytes_again(tmp_path: Path) -> None:
    lines = [_line(m, s, 0.9 + 0.01 * s) for m in ("best", "dfad", "dafl") for s in (0, 1)]
    names = table.plot_names(lines)
    assert set(names) == {"mnist-test-a-b-120s-2-seconds.svg", "mnist-test-a-b-120s-2-queries.svg"}
    for name, (against, runs, title) in names.items():
        for folder in ("1", "2"):
            draw(runs, tmp_path / folder / name, against, title)
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()
        assert "best" in (tmp_path / "1" / name).read_text()


def test_the_committed_pages_are_printed_from_the_committed_lines() -> None:
    pages = table.pages()
    assert set(pages) == {table.README, table.PROJECT_README}
    for path, text in pages.items():
        assert path.read_text(encoding="utf-8") == text, f"python -m benchmarks.table --write: {path}"
    for name in table.plot_names(table.accuracy_lines()):
        assert (table.RESULTS / "plots" / name).is_file()


def test_each_figure_of_the_readme_names_the_source_of_its_images() -> None:
    digits, mnist, with_bn, folded = table.readme_figures().split("\n- ")
    assert "ResNet-20 with batch norm" in with_bn
    assert "folded away" in folded
    assert "a trained generator" in digits
    assert "MNIST" not in digits
    assert "no generator is trained" in mnist


def test_the_readme_says_that_a_figure_was_measured_with_a_neighbour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits = {"seconds": 100, "student_accuracy": 0.9, "teacher_accuracy": 0.95}
    digits |= {"student_parameters": 1, "teacher_parameters": 4}
    (tmp_path / "first_student.jsonl").write_text(json.dumps(digits) + "\n")
    monkeypatch.setattr(table, "RESULTS", tmp_path)
    for load, disturbed in ((0.02, False), (1.0, True)):
        line = _line(image_source="level_sets", others_processors=load)
        (tmp_path / "mnist.jsonl").write_text(json.dumps(line) + "\n")
        text = table.readme_figures()
        assert "90.0 % right where the teacher has 95.0 %, with 25%" in text
        assert ("Another program ran" in text) is disturbed


def test_colour_figures_are_those_of_the_newest_recipe() -> None:
    run = {"teacher": "cifar10-resnet20-public", "student": "resnet8", "settings": {}, "variant": ""}
    run |= {"budget": {"kind": "seconds", "amount": 1200.0}, "recipe": "old"}
    new = run | {"recipe": "new"}
    lines = [_line(**run) | {"accuracy": 0.5}]
    lines += [_line(**new, seed=seed) | {"accuracy": 0.7 + 0.1 * seed} for seed in range(3)]
    lines += [_line(**new) | {"settings": {"a": 1}, "accuracy": 0.1}, _line("dfq", **new) | {"accuracy": 0.9}]
    lines[2].pop("accuracy")  # not scored on the test images
    title, text, *peers = colour_figures.colour_figures(lines)
    assert "ResNet-20 with batch norm" in title
    assert "80.0 % right where the teacher has 99.0 %, median of 2 seeds, 1,200 s on 2 threads" in text
    assert peers[-1].splitlines()[2:] == [
        "| DFQ | 90.0 % (1 seed) | - |",
        f"| {BEST} | 80.0 % (2 seeds) | - |",
    ]
    alone = list(colour_figures.colour_figures(lines[4:]))
    assert not any(line.startswith("-") for line in alone)
    assert len(list(colour_figures.colour_figures(lines[:3]))) == 2


def test_the_ablation_has_a_table_a_budget_with_its_variants_in_order() -> None:
    run = {"student": "resnet8", "settings": {"a": 1}, "recipe": "ablation"}
    run |= {"budget": {"kind": "seconds", "amount": 600.0}}
    bn, folded = "cifar10-resnet20-public", "cifar10-resnet20-folded"
    lines = [_line(**run, teacher=bn, variant="both", seed=s) | {"accuracy": 0.6 + 0.1 * s} for s in (0, 1)]
    lines += [_line(**run, teacher=folded, variant="plain") | {"accuracy": 0.5}]
    lines += [_line(**run, teacher=bn, variant="plain")]  # not scored on the test images
    _, title, _, text = colour_figures.ablation_figures(lines)
    assert "600 seconds on 2 threads of a CPU" in title
    assert text.splitlines()[2:] == [
        "| plain | - | 50.0 % (50.0 to 50.0, 1 seed) |",
        "| with activation regularizer | - | - |",
        "| with virtual interpolation | - | - |",
        "| with both | 65.0 % (60.0 to 70.0, 2 seeds) | - |",
    ]
    assert list(colour_figures.ablation_figures([])) == []
    assert list(colour_figures.colour_figures(lines)) == []


def test_only_what_is_between_the_markers_changes() -> None:
    page = "before\n<!-- one -->\nold\n<!-- /one -->\nafter\n"
    assert table.filled(page, "one", "new") == "before\n<!-- one -->\n\nnew\n\n<!-- /one -->\nafter\n"
    with pytest.raises(ValueError, match="two"):
        table.filled(page, "two", "new")


def test_a_row_of_step_times() -> None:
    line = {**_line(git_clean=False), "batch_size": 512, "generator_width": 64, "plain_seconds": 3.0}
    line |= {"engine_seconds": 0.5, "engine_with_pool_seconds": 0.3, "ratio": 6.0, "ratio_with_pool": 10.0}
    row = table.step_time_table([line]).splitlines()[-1]
    assert row.startswith("| a:b | 512 | 64 | 3.000 | 0.500 | 0.300 | 6.0 | 10.0 |")
    assert row.endswith("0123456789 and changes |")


def test_no_results_yet(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl") == []


def test_without_a_calibration_the_page_says_so() -> None:
    title, text = table.judge_section([])
    assert title == "Accuracy predicted for new teachers, without data"
    assert "no job has a prediction" in text
