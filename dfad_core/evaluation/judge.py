"""The judge: accuracy relative to the teacher's, predicted without data from answers to the judge's images.

A linear function of a few features predicts the log odds of the relative accuracy. Its weights, and the
interval around it, come from jobs of known accuracy (`python -m benchmarks.fidelity_calibration --write`).
There is a prediction only for jobs like those: of such images and classes, with features within their range.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from dfad_core.contract.evaluation_plan import SHARES, Shape, judge_images
from dfad_core.contract.job_result import AccuracyPrediction
from dfad_core.contract.serialization import from_json
from dfad_core.evaluation.judge_images import VERSION

FILE = Path(__file__).with_name("judge.json")
LEVEL = 0.9
"""Share of jobs of new teachers whose relative accuracy should lie in its interval."""
LARGEST_ODDS = 0.995
"""Shares are taken as at most this, and as at least its complement, before they become log odds."""
LEAST_JOBS, LEAST_CORRELATION, LEAST_COVERAGE = 200, 0.9, 0.85
"""What a calibration must reach before anything is predicted by it."""
GOOD, LEAST_GOOD = 0.8, 40
"""Relative accuracy of a good student, and the least number of them in a calibration. Users get good ones, so
`LEAST_COVERAGE` must hold for these alone as well."""
CLASSES_FACTOR = 2
"""How many times more or fewer classes than the calibration's a teacher may have."""
SURE = ("mixed", "approached")
"""Sources whose agreement is a feature with weights by the teacher's margin, too."""
UNTRAINED = "Training did not come to its end."
UNMEASURED = "The evaluation did not come to its end."
UNANSWERED = "The teacher's answers to many drawn images, or the gradients of these answers, are not finite."
SLACK = 0.3
"""How far a feature may lie outside of the calibration's, as a share of their range."""


@dataclass(frozen=True)
class Feature:
    """A feature of the predictor: its mean, scale and range among the calibration's jobs, and its weight."""

    name: str
    mean: float
    scale: float
    low: float
    high: float
    weight: float


@dataclass(frozen=True)
class Calibration:
    """The predictor, and what it was made from."""

    features: tuple[Feature, ...]
    intercept: float
    below: float
    """Half of the interval below the prediction, in log odds; `above` likewise."""
    above: float
    jobs: int
    teachers: int
    coverage: float
    """Share of the jobs in their interval, each with its teacher left out of the calibration."""
    correlation: float
    """Spearman's, of predicted and true relative accuracy, with each job's teacher left out."""
    sides: tuple[int, ...]
    """Least and largest side of the images; `classes` likewise."""
    classes: tuple[int, ...]
    images: int
    """Plain drawings of every job."""
    version: int
    """Of the judge's images and signals."""
    good: int
    """Jobs whose student is good, of those that could be predicted."""
    good_coverage: float
    """`coverage` of these alone."""


@cache
def calibration() -> Calibration | None:
    """The committed one; None where there is none of the present images and signals."""
    if not FILE.is_file():
        return None
    found = from_json(Calibration, json.loads(FILE.read_text(encoding="utf-8")))
    return found if found.version == VERSION else None


def odds(share: float) -> float:
    """Log odds of a share from 0 to 1."""
    share = min(max(share, 1 - LARGEST_ODDS), LARGEST_ODDS)
    return math.log(share / (1 - share))


def share_of(log_odds: float) -> float:
    """The inverse of `odds`."""
    return 1 / (1 + math.exp(-log_odds))


def features(signals: Mapping[str, float]) -> dict[str, float]:
    """The features of the predictor, from the signals of all sources: shares as log odds."""
    return {
        **{f"agreement_{source}": odds(signals[f"balanced_agreement_{source}"]) for source in SHARES},
        **{f"sure_agreement_{source}": odds(signals[f"sure_agreement_{source}"]) for source in SURE},
        "correlation_chosen": odds((1 + signals["correlation_chosen"]) / 2),
        "teacher_confidence_chosen": odds(signals["teacher_confidence_chosen"]),
    }


def log_odds(by: Calibration, signals: Mapping[str, float]) -> float:
    """The predicted log odds of the relative accuracy."""
    values = features(signals)
    return by.intercept + sum(f.weight * (values[f.name] - f.mean) / f.scale for f in by.features)


def predicted(
    signals: Mapping[str, float],
    shape: Shape,
    num_classes: int,
    num_images: int,
    *,
    by: Calibration | None = None,
) -> AccuracyPrediction:
    """The prediction for a student with these signals; the reason where the calibration allows none.

    `signals` are those of all sources, or {} where the teacher had no answers, with `num_images` plain
    drawings of `shape` (C, H, W). `by` replaces the committed calibration.
    """
    if not signals:
        return unpredicted(UNANSWERED)
    by = by or calibration()
    if by is None:
        return unpredicted("The judge has not been calibrated yet.", num_images)
    found = estimated(signals, shape, num_classes, num_images, by)
    reason = found.reason or shortfall(by)
    return found if reason is None else dataclasses.replace(_about(by, num_images), reason=reason)


def shortfall(by: Calibration) -> str | None:
    """What a calibration lacks, in a sentence; None where it is good enough to predict by."""
    lacks, needed = [], f"{LEAST_COVERAGE:.0%} are needed"
    if by.jobs < LEAST_JOBS:
        lacks.append(f"it has learned from {by.jobs:,} jobs, and {LEAST_JOBS:,} are needed")
    if by.correlation < LEAST_CORRELATION:
        lacks.append(f"its rank correlation is {by.correlation:.2f}, and {LEAST_CORRELATION} is needed")
    if by.coverage < LEAST_COVERAGE:
        lacks.append(f"{by.coverage:.0%} of its jobs lie in their interval, and {needed}")
    if by.good < LEAST_GOOD:
        lacks.append(f"it has learned from {by.good} good students, and {LEAST_GOOD} are needed")
    if by.good_coverage < LEAST_COVERAGE:
        lacks.append(f"{by.good_coverage:.0%} of its good students lie in their interval, and {needed}")
    return f"The judge is not calibrated well enough yet: {'; '.join(lacks)}." if lacks else None


def unpredicted(reason: str, num_images: int = 0) -> AccuracyPrediction:
    """No prediction, for a reason in a sentence, after `num_images` plain drawings."""
    return AccuracyPrediction(level=LEVEL, images=sum(judge_images(num_images).values()), reason=reason)


def estimated(
    signals: Mapping[str, float], shape: Shape, num_classes: int, num_images: int, by: Calibration
) -> AccuracyPrediction:
    """`predicted`, however good the calibration."""
    about = _about(by, num_images)
    reason = _objection(signals, shape, num_classes, num_images, by)
    if reason is not None:
        return dataclasses.replace(about, reason=reason)
    middle = log_odds(by, signals)
    low, high = share_of(middle - by.below), share_of(middle + by.above)
    return dataclasses.replace(
        about,
        relative_accuracy=round(share_of(middle), 4),
        low=0.0 if low < 1 - LARGEST_ODDS else round(low, 4),
        high=1.0 if high > LARGEST_ODDS else round(high, 4),
    )


def _about(by: Calibration, num_images: int) -> AccuracyPrediction:
    return AccuracyPrediction(
        level=LEVEL,
        coverage=by.coverage,
        jobs=by.jobs,
        teachers=by.teachers,
        images=sum(judge_images(num_images).values()),
    )


def _objection(
    signals: Mapping[str, float], shape: Shape, num_classes: int, num_images: int, by: Calibration
) -> str | None:
    """Why nothing can be predicted, in a sentence; None if something can."""
    learned = f"the judge has learned from {by.jobs:,} jobs"
    (least, most), (fewest, largest) = by.sides, by.classes
    if not least <= min(shape[1:]) <= max(shape[1:]) <= most:
        return f"The images have {shape[1]}x{shape[2]} pixels; {learned} with sides of {_range(least, most)}."
    if not fewest / CLASSES_FACTOR <= num_classes <= largest * CLASSES_FACTOR:
        return (
            f"The teacher has {num_classes:,} classes; {learned} whose teachers have "
            f"{_range(fewest, largest)}."
        )
    if num_images < by.images:
        shown, known = (sum(judge_images(count).values()) for count in (num_images, by.images))
        return (
            f"The networks are large for so short a training: they were compared on {shown:,} drawn images; "
            f"{learned} with {known:,} each."
        )
    values = features(signals)
    for feature in by.features:
        slack, value = SLACK * (feature.high - feature.low), values[feature.name]
        if not feature.low - slack <= value <= feature.high + slack:
            name = feature.name.replace("_", " ")
            here, low, high = (_shown(feature.name, odds) for odds in (value, feature.low, feature.high))
            return (
                f"Student and teacher answer to drawn images as those of no job before: {name} is {here}; "
                f"{learned} with {low} to {high}."
            )
    return None


def _range(least: int, most: int) -> str:
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _shown(name: str, log_odds: float) -> str:
    """A feature as the share that it was made from; a correlation from -1 to 1."""
    share = share_of(log_odds)
    return f"{2 * share - 1:.2f}" if name.startswith("correlation") else f"{100 * share:.1f} %"
