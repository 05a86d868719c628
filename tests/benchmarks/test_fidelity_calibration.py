import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks import calibration_jobs as jobs
from benchmarks import fidelity_calibration as calibration
from dfad_core.contract.evaluation_plan import SHARES
from dfad_core.contract.serialization import from_json, to_json
from dfad_core.evaluation import judge
from dfad_core.evaluation.signals import signals

TEACHERS = 6


def _line(teacher: int, noise: float) -> dict[str, Any]:
    """A job whose student answers as its teacher does but for some noise, on all images."""
    stream = torch.Generator().manual_seed(1000 * teacher + round(100 * noise))

    def answers(spread: float) -> tuple[torch.Tensor, torch.Tensor]:
        of_teacher = spread * torch.randn(300, 10, generator=stream)
        return of_teacher, of_teacher + noise * torch.randn(300, 10, generator=stream)

    found: dict[str, float] = {}
    for spread, source in enumerate(SHARES, 1):
        figures = signals(*answers(float(spread)))
        found |= {f"{name}_{source}": value for name, value in figures.items()}
    of_teacher, of_student = answers(3.0 + 0.1 * teacher)
    accuracy = float((of_teacher.argmax(1) == of_student.argmax(1)).double().mean())
    return {
        "teacher": f"t{teacher}", "accuracy": accuracy, "teacher_accuracy": 1.0, "signals": found,
        "shape": [1, 16, 16], "classes": 10, "version": calibration.VERSION,
    }  # fmt: skip


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    return [_line(teacher, noise) for teacher in range(TEACHERS) for noise in np.geomspace(0.2, 20, 10)]


def test_rank_correlation_by_hand() -> None:
    assert calibration.ranks([3, 1, 3, 2]).tolist() == [3.5, 1, 3.5, 2]
    assert calibration.spearman([1, 2, 3, 4], [10, 20, 25, 1000]) == pytest.approx(1)
    assert calibration.spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    # d^2 = 0 + 1 + 1: 1 - 6 * 2 / (3 * 8)
    assert calibration.spearman([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)
    assert calibration.spearman([1, 1, 1], [1, 2, 3]) == 0
    assert calibration.spearman([1, 2], [1, 2]) is None


def test_quantiles_count_weights() -> None:
    values, weights = np.array([3.0, 1.0, 2.0]), np.array([1.0, 8.0, 1.0])
    assert [calibration.weighted_quantile(values, weights, s) for s in (0.5, 0.8, 0.85, 1.0)] == [1, 1, 2, 3]


def test_accuracy_of_an_unseen_teachers_students_is_predicted(lines: list[dict[str, Any]]) -> None:
    verdicts = calibration.judged_apart(calibration.Rows.of(lines))
    found = calibration.Summary.of(verdicts)
    assert found.count > 0.8 * len(lines)
    assert (found.correlation or 0) > 0.95
    assert (found.error or 1) < 0.1
    assert abs(found.excess or 0) <= (found.error or 0)
    assert 0.7 < (found.coverage or 0) <= 1
    rows = calibration.table_rows(verdicts)
    assert [row[0] for row in rows[:-1]] == [f"t{n}" for n in range(TEACHERS)] + ["all"]
    good = [line for line in lines if calibration.relative(line) >= judge.GOOD]
    assert rows[-1][1] == str(len(good))
    nothing = calibration.Summary.of(verdicts, least=2)
    assert (nothing.count, nothing.coverage, nothing.correlation) == (0, None, None)
    assert all(len(row) == len(calibration.HEAD) for row in rows)


def test_a_teacher_that_is_left_out_is_in_no_part_of_its_calibration(lines: list[dict[str, Any]]) -> None:
    rows = calibration.Rows.of(lines)
    others, own = rows.split("t0")
    assert set(own.teachers) == {"t0"}
    assert "t0" not in others.teachers
    spoilt = [{**line, "accuracy": 0.1} if line["teacher"] == "t0" else line for line in lines]
    first = {id(v.line): v.prediction for v in calibration.judged_apart(rows) if v.line["teacher"] == "t0"}
    again = calibration.judged_apart(calibration.Rows.of(spoilt))
    assert list(first.values()) == [v.prediction for v in again if v.line["teacher"] == "t0"]


def test_the_calibration_is_stored_whole(lines: list[dict[str, Any]]) -> None:
    rows = calibration.Rows.of(lines)
    whole = calibration.complete(rows, calibration.judged_apart(rows))
    assert from_json(judge.Calibration, json.loads(json.dumps(to_json(whole)))) == whole
    assert (whole.jobs, whole.teachers, whole.sides, whole.classes) == (
        len(lines),
        TEACHERS,
        (16, 16),
        (10, 10),
    )
    near = judge.log_odds(whole, lines[0]["signals"])
    assert near > judge.log_odds(whole, lines[9]["signals"])


def test_students_are_measured_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "FILE", tmp_path / "jobs.jsonl")
    monkeypatch.setattr(calibration, "FILE", tmp_path / "signals.jsonl")
    monkeypatch.setattr(calibration, "MOST_IMAGES", 64)
    monkeypatch.setitem(
        jobs.KINDS, "digits8", jobs.Kind((("cnn8", {"width": 2}),), {"level_sets": 1}, (1, 1))
    )
    monkeypatch.setattr(jobs, "STOPS", (1.0,))
    jobs.main(["--only", "digits8", "--jobs", "1", "--folder", str(tmp_path)])
    for _ in range(2):
        calibration.measure(tmp_path)
    (line,) = calibration.lines()
    assert (line["teacher"], line["share"], line["shape"]) == ("digits8-cnn", 1.0, [1, 8, 8])
    assert 0 <= line["signals"]["agreement_drawn"] <= 1
    monkeypatch.setattr(calibration, "VERSION", calibration.VERSION + 1)
    assert calibration.lines() == []


def test_too_few_teachers_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "FILE", tmp_path / "signals.jsonl")
    with pytest.raises(SystemExit, match="fewer than 3 teachers"):
        calibration.main(["--table-only"])


def test_the_committed_calibration_is_that_of_the_committed_lines() -> None:
    lines, committed = calibration.lines(), judge.calibration()
    rows = calibration.Rows.of(lines)
    assert calibration.complete(rows, calibration.judged_apart(rows)) == committed
