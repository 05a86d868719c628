import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from dfad_core.contract.evaluation_plan import SHARES
from dfad_core.contract.serialization import to_json
from dfad_core.evaluation import judge
from dfad_core.evaluation.judge import Calibration, Feature, odds, predicted, share_of
from dfad_core.evaluation.signals import signals

SHAPE = (1, 16, 16)
TEACHER = 3 * torch.randn(64, 10, generator=torch.Generator().manual_seed(0))


def of_noise(noise: float) -> dict[str, float]:
    """Signals of a student whose logits are the teacher's and some noise."""
    student = TEACHER + noise * torch.randn(TEACHER.shape, generator=torch.Generator().manual_seed(1))
    found = signals(TEACHER, student)
    return {f"{name}_{source}": value for source in SHARES for name, value in found.items()}


def calibration() -> Calibration:
    good, bad = judge.features(of_noise(0.0)), judge.features(of_noise(20))
    features = tuple(
        Feature(name, 0.0, 1.0, min(good[name], bad[name]), max(good[name], bad[name]), 0.0) for name in good
    )
    name = "agreement_chosen"
    features = tuple(dataclasses.replace(f, weight=1.0 if f.name == name else 0.0) for f in features)
    return Calibration(
        features, 0.0, 1.0, 0.5, 200, 13, 0.91, 0.93, (8, 32), (10, 10), 1024, judge.VERSION, 40, 0.86
    )


def test_log_odds_and_back() -> None:
    assert share_of(odds(0.3)) == pytest.approx(0.3)
    assert share_of(odds(1.0)) == pytest.approx(judge.LARGEST_ODDS)
    assert odds(0.0) == pytest.approx(-odds(1.0))


def test_a_student_near_its_teacher_is_predicted_to_be_good() -> None:
    by = calibration()
    good, bad = (predicted(of_noise(noise), SHAPE, 10, 1024, by=by) for noise in (0.5, 5.0))
    for one in (good, bad):
        assert one.reason is None
        assert one.low < one.relative_accuracy < one.high
        assert (one.level, one.jobs, one.teachers, one.coverage) == (0.9, 200, 13, 0.91)
        assert one.images == 1024 + 512 + 512 + 256
    assert good.relative_accuracy > bad.relative_accuracy
    agreement = of_noise(5.0)["balanced_agreement_chosen"]
    assert bad.relative_accuracy == pytest.approx(agreement, abs=1e-4)
    assert bad.low == pytest.approx(share_of(odds(agreement) - 1.0), abs=1e-4)
    assert bad.high == pytest.approx(share_of(odds(agreement) + 0.5), abs=1e-4)


def test_the_ends_of_the_scale_are_in_reach() -> None:
    perfect = predicted(of_noise(0.0), SHAPE, 10, 1024, by=calibration())
    assert perfect.high == 1.0


@pytest.mark.parametrize(
    ("shape", "classes", "images", "words"),
    [
        ((3, 224, 224), 10, 1024, "224x224 pixels"),
        (
            SHAPE,
            1000,
            1024,
            "The teacher has 1,000 classes; the judge has learned from 200 jobs whose teachers have 10.",
        ),
        (SHAPE, 2, 1024, "The teacher has 2 classes;"),
        (SHAPE, 10, 64, "compared on 144 drawn images; the judge has learned from 200 jobs with 2,304 each."),
    ],
)
def test_no_prediction_outside_of_the_calibration(shape, classes: int, images: int, words: str) -> None:
    found = predicted(of_noise(1.0), shape, classes, images, by=calibration())
    assert (found.relative_accuracy, found.low, found.high) == (None, None, None)
    assert found.reason is not None
    assert words in found.reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"jobs": 199}, "199 jobs, and 200 are needed."),
        ({"correlation": 0.89}, "correlation is 0.89, and 0.9 is needed."),
        ({"coverage": 0.84}, "84% of its jobs lie"),
        ({"good": 39}, "39 good students, and 40 are needed."),
        (
            {"good_coverage": 0.84, "good": 3},
            "3 good students, and 40 are needed; 84% of its good students lie",
        ),
    ],
)
def test_no_prediction_by_a_poor_calibration(change: dict[str, float], words: str) -> None:
    by = dataclasses.replace(calibration(), **change)
    found = predicted(of_noise(1.0), SHAPE, 10, 1024, by=by)
    assert found.relative_accuracy is None
    assert words in (found.reason or "")


def test_no_prediction_for_answers_of_another_kind() -> None:
    strange = of_noise(1.0) | {"balanced_agreement_chosen": 0.0}
    found = predicted(strange, SHAPE, 10, 1024, by=calibration())
    assert found.relative_accuracy is None
    assert "agreement chosen is 0.5 %; the judge has learned from 200 jobs with " in (found.reason or "")
    strange = of_noise(1.0) | {"correlation_chosen": -0.9}
    found = predicted(strange, SHAPE, 10, 1024, by=calibration())
    assert "correlation chosen is -0.90; " in (found.reason or "")


def test_no_prediction_without_answers_of_the_teacher() -> None:
    found = predicted({}, SHAPE, 10, 1024, by=calibration())
    assert (found.relative_accuracy, found.reason) == (None, judge.UNANSWERED)


def test_answers_that_are_not_finite_are_no_agreement() -> None:
    teacher = torch.eye(4).repeat(5, 1)
    student = teacher.clone()
    student[::2] = torch.nan
    found = signals(teacher, student)
    assert all(map(math.isfinite, found.values()))
    assert found["agreement"] < 0.8


def test_a_calibration_of_other_images_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "FILE", tmp_path / "judge.json")
    found = {}
    for version in (None, judge.VERSION + 1, judge.VERSION):
        if version is not None:
            text = json.dumps(to_json(dataclasses.replace(calibration(), version=version)))
            judge.FILE.write_text(text)
        judge.calibration.cache_clear()
        found[version] = judge.calibration()
        if found[version] is None:
            without = predicted(of_noise(1.0), SHAPE, 10, 1024)
            assert "not been calibrated" in (without.reason or "")
            assert (without.relative_accuracy, without.images) == (None, 2304)
    judge.calibration.cache_clear()
    assert found == {None: None, judge.VERSION + 1: None, judge.VERSION: calibration()}


def test_the_committed_calibration_is_complete() -> None:
    by = judge.calibration()
    assert by is not None
    assert {feature.name for feature in by.features} == set(judge.features(of_noise(1.0)))
    assert by.below > 0
    assert by.above > 0
    assert by.jobs >= by.teachers >= 5
