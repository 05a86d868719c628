"""The colour table runs what is missing, says what it cannot run, and sums up over seeds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from benchmarks import colour, colour_table
from benchmarks.engine.colour_rows import colour_sections, teacher_rows
from benchmarks.engine.method_table import markdown
from dfad_core.training import trainer

SMALL = ["--set", "training.batch_size=8", "training.generator_width=8"]
RUNS = ["--teachers", "cifar10-resnet20-public", "--students", "resnet8", "--methods", "best"]


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The command lines of the runs, which run in this process."""
    commands: list[Sequence[str]] = []

    def run_modules(runs: Sequence[tuple[str, Sequence[str]]], **_: int) -> list[int]:
        for _title, (module, *arguments) in runs:
            assert module == "benchmarks.colour"
            commands.append(arguments)
            colour.main(arguments)
        return [0] * len(runs)

    monkeypatch.setattr(trainer, "evaluate", lambda *_: None)
    monkeypatch.setattr(colour_table, "run_modules", run_modules)
    for module in (colour, colour_table):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    return commands


def test_a_run_whose_line_is_there_is_not_repeated(
    colour_data: Path, started: list[Sequence[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    options = [*RUNS, "--data", str(colour_data), "--updates", "5", "--seeds", "0", *SMALL]
    variants = ["--variant", "adam", "--variant", "sgd", "training.student_optimizer=sgd"]
    colour_table.main([*options, *variants])
    assert len(started) == 2
    colour_table.main([*options, *variants, "--seeds", "0"])
    assert len(started) == 2
    out = capsys.readouterr().out
    assert "CIFAR-10, cifar10-resnet20-public" in out
    assert "| best | sgd: batch_size=8, generator_width=8, student_optimizer=sgd | current |" in out.replace(
        "best ‡", "best"
    )
    colour_table.main([*options, "--recipe", "another"])
    colour_table.main([*options, "--recipe", "another", "--report"])  # its line has no test images
    colour_table.main([*options, "--recipe", "another", "--report"])
    assert len(started) == 4


def test_what_is_not_there_is_said_and_left_out(
    tmp_path: Path, started: list[Sequence[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    colour_table.main([*RUNS, "--data", str(tmp_path / "nowhere")])
    assert started == []
    assert "skipped: cifar10-resnet20-public: no data folder" in capsys.readouterr().out


def test_a_setting_that_does_not_exist_is_refused(started: list[Sequence[str]]) -> None:
    with pytest.raises(SystemExit, match="no_such"):
        colour_table.main([*RUNS, "--set", "training.no_such=1"])


def _line(method: str = "best", seed: int = 0, choosing: float = 0.6, **changes: Any) -> dict[str, Any]:
    return {
        "time": "2026-01-01T00:00:00+00:00",
        "teacher": "t",
        "student": "s",
        "pair": "t:s",
        "method": method,
        "seed": seed,
        "budget": {"kind": "seconds", "amount": 1200.0},
        "settings": {},
        "variant": "",
        "recipe": "first",
        "image_source": "generator",
        "missing_terms": [],
        "choosing_accuracy": choosing,
        "choosing_agreement": 0.65,
        "choosing_teacher_accuracy": 0.8,
        "presentations": 1000,
        "distinct_images": 200,
        "class_entropy": 0.9,
        "teacher_confidence": 0.5,
        "time_shares": {"teacher": 0.2, "student": 0.5, "image_source": 0.1, "backward_to_images": 0.1},
        "pflop": 1.5,
        "seconds": 1200.2,
        "others_processors": 0.0,
        "machine": {"threads": 1, "cpu": "a CPU"},
        "git_revision": "0123456789abcdef",
        "git_clean": True,
        **changes,
    }


def test_median_and_range_over_seeds_against_the_teacher() -> None:
    lines = [
        _line(seed=seed, choosing=score, other_agreement=0.55) for seed, score in enumerate((0.6, 0.64, 0.5))
    ]
    lines += [_line("dfq", missing_terms=["BN statistics"], others_processors=1.0)]
    lines += [_line(variant="sgd", settings={"training.student_optimizer": "sgd"}, accuracy=0.7)]
    lines[-1] |= {"teacher_accuracy": 0.875, "choosing_accuracy": 0.72}
    ((title, text),) = colour_sections(lines)
    assert title == (
        "CIFAR-10, t (80.00 % held out, 87.50 % test) to s, 1,200 seconds of training on 1 thread of a CPU"
    )
    rows = text.splitlines()[2:5]
    assert rows[0].startswith(
        "| best | sgd: student_optimizer=sgd | first | generator | 1 | 72.00 (72.00 to 72.00) | 90.0 % | "
        "65.00 | - | 70.00 (70.00 to 70.00) | 80.0 % |"
    )
    three = "| best | - | first | generator | 3 | 60.00 (50.00 to 64.00) | 75.0 % | 65.00 | 55.00 | - | - |"
    assert rows[1].startswith(f"{three} 1,000 | 200 | 0.90 | 0.50 | 20 / 50 / 10 / 10 % | 1.5 | 1,200 | - |")
    assert rows[2].startswith("| dfq †‡ |")
    assert "Incomplete method" in text


def test_budgets_do_not_mix() -> None:
    lines = [_line(), _line(budget={"kind": "updates", "amount": 1200.0})]
    assert [title.partition("to s, ")[2] for title, _ in colour_sections(lines)] == [
        "1,200 seconds of training on 1 thread of a CPU",
        "1,200 student updates on 1 thread of a CPU",
    ]


def test_one_row_a_teacher() -> None:
    line = _line(parameters=487_498, accuracy=0.85, held_out_accuracy=0.84, epochs=12.3)
    line |= {"images_per_second": 230.4, "labeller": None}
    text = markdown(*teacher_rows([_line(parameters=1), line][1:]))
    assert text.splitlines()[2].startswith("| t | 487,498 | 85.00 | 84.00 | 1200 | 12.3 | 230 | - |")
