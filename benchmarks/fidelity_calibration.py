"""The judge's calibration: from signals without data to accuracy relative to the teacher's, with an interval.

    python -m benchmarks.calibration_jobs
    python -m benchmarks.fidelity_calibration
    python -m benchmarks.fidelity_calibration --table-only --write

Every student of `benchmarks.calibration_jobs` is shown the judge's images; a result line is one job with
its accuracy and all signals. Jobs that have a line of the present images are not measured again. What is
printed holds for a new teacher: each job is predicted by a calibration without any job of its teacher.
`--write` stores the calibration of all jobs for the engine.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import calibration_jobs as jobs
from benchmarks.engine.data import DataMissing
from benchmarks.engine.method_table import markdown
from benchmarks.record import RESULTS, append, read, surroundings
from dfad_core.contract.evaluation_plan import MOST_IMAGES
from dfad_core.contract.job_result import AccuracyPrediction
from dfad_core.contract.serialization import to_json
from dfad_core.evaluation import judge
from dfad_core.evaluation.fidelity import compared
from dfad_core.evaluation.judge import Calibration, Feature
from dfad_core.evaluation.judge_images import VERSION, judge_sets
from dfad_core.hooks import AnsweredImages
from dfad_core.networks.input_statistics import pixel_range

Line = Mapping[str, Any]
Vector = NDArray[np.float64]

FILE = RESULTS / "fidelity_calibration.jsonl"
PENALTY = 10.0
"""Of the squared weights, where features have deviation 1 and every teacher's jobs weigh alike."""
LEAST_RANKED = 3
"""Fewest jobs of which a rank correlation says something."""
LEAST_TEACHERS = 3
"""Fewest teachers of a calibration."""


def measure(folder: Path, data_option: str | None = None) -> None:
    """A line for every job of known accuracy that has none of the present version of the judge's images."""
    there = {(line["teacher"], line["number"], line["share"]) for line in lines()}
    about = surroundings(torch.device("cpu"))
    teacher, sets = None, dict[str, AnsweredImages]()
    newest = {(line["teacher"], line["number"], line["share"]): line for line in read(jobs.FILE)}
    for line in sorted(newest.values(), key=lambda line: str(line["teacher"])):
        job = jobs.Job(**{field.name: line[field.name] for field in dataclasses.fields(jobs.Job)})
        path = job.student_file(folder, line["share"])
        if (line["teacher"], line["number"], line["share"]) in there or not path.is_file():
            continue
        if teacher is None or teacher.name != line["teacher"]:
            teacher = jobs.load(line["teacher"], folder, data_option)
            sets = kept_sets(teacher, folder)
        student = jobs.build(job, teacher.input).eval()
        student.load_state_dict(torch.load(path, weights_only=True))
        figures = {
            "benchmark": "fidelity_calibration",
            "version": VERSION,
            **{
                name: line[name]
                for name in ("teacher", "number", "share", "student", "method", "updates", "seed")
            },
            **{name: line[name] for name in ("accuracy", "teacher_accuracy", "agreement")},
            "shape": teacher.input.shape,
            "classes": jobs.NUM_CLASSES,
            "signals": {name: float(f"{v:.5g}") for name, v in compared(student, sets).items()},
        }
        append(FILE, figures, torch.device("cpu"), about=about)
        print(f"SIGNALS {path.stem} accuracy={line['accuracy']}", flush=True)


def kept_sets(teacher: jobs.Teacher, folder: Path) -> dict[str, AnsweredImages]:
    """The judge's images for a teacher, made once."""
    path = folder / "sets" / f"{teacher.name}-{VERSION}.pt"
    if not path.is_file():
        pixels = pixel_range(teacher.input, teacher.module)
        made = judge_sets(teacher.module, teacher.input.shape, pixels, MOST_IMAGES)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({name: (asked.images_BCHW, asked.teacher_BK) for name, asked in made.items()}, path)
    stored = torch.load(path, weights_only=True)
    return {name: AnsweredImages(*tensors) for name, tensors in stored.items()}


def lines() -> list[Line]:
    """The lines of the present version of the judge's images."""
    return [line for line in read(FILE) if line.get("version") == VERSION]


def enough(lines: Sequence[Line]) -> bool:
    """Whether teachers can be left out in turn."""
    return len({line["teacher"] for line in lines}) >= LEAST_TEACHERS


@dataclass(frozen=True)
class Rows:
    """Jobs as arrays: features (N, P), true log odds (N,) and teachers."""

    names: tuple[str, ...]
    features_NP: Vector
    odds_N: Vector
    teachers: tuple[str, ...]
    lines: Sequence[Line]

    @classmethod
    def of(cls, lines: Sequence[Line]) -> Rows:
        """All of the lines."""
        made = [judge.features(line["signals"]) for line in lines]
        names = tuple(made[0])
        odds = [judge.odds(relative(line)) for line in lines]
        return cls(
            names,
            np.array([[one[name] for name in names] for one in made]),
            np.array(odds),
            tuple(line["teacher"] for line in lines),
            lines,
        )

    def split(self, teacher: str) -> tuple[Rows, Rows]:
        """The rows of all other teachers, and those of this one."""
        own = np.array([name == teacher for name in self.teachers])
        return self.where(~own), self.where(own)

    def where(self, chosen_N: NDArray[np.bool_]) -> Rows:
        """The chosen rows."""
        numbers = np.nonzero(chosen_N)[0].tolist()
        return dataclasses.replace(
            self,
            features_NP=self.features_NP[chosen_N],
            odds_N=self.odds_N[chosen_N],
            teachers=tuple(self.teachers[n] for n in numbers),
            lines=[self.lines[n] for n in numbers],
        )


def relative(line: Line) -> float:
    """Accuracy relative to the teacher's, 1 at most."""
    return min(1.0, float(line["accuracy"]) / float(line["teacher_accuracy"]))


def weights(rows: Rows) -> Vector:
    """Weights (N,) of the jobs: teachers count alike, and so do good and other students of each.

    Jobs of users run to their end and mostly end well; most of these were stopped early.
    """
    good_N = rows.odds_N >= judge.odds(judge.GOOD)
    groups = list(zip(rows.teachers, good_N.tolist(), strict=True))
    counts = Counter(groups)
    kinds = Counter(name for name, _ in counts)
    return np.array([1 / counts[group] / kinds[group[0]] for group in groups])


def fitted(rows: Rows) -> Calibration:
    """Ridge regression of log odds on features, of jobs with their `weights`; without an interval."""
    weight_N = weights(rows)
    weight_N = weight_N / weight_N.sum()
    mean_P = weight_N @ rows.features_NP
    scale_P = np.sqrt(weight_N @ (rows.features_NP - mean_P) ** 2).clip(1e-9)
    x_NP = (rows.features_NP - mean_P) / scale_P
    middle = float(weight_N @ rows.odds_N)
    gram_PP = (x_NP * weight_N[:, None]).T @ x_NP + PENALTY / len(rows.odds_N) * np.eye(len(mean_P))
    coefficients_P = np.linalg.solve(gram_PP, (x_NP * weight_N[:, None]).T @ (rows.odds_N - middle))
    columns = zip(
        rows.names,
        mean_P,
        scale_P,
        rows.features_NP.min(0),
        rows.features_NP.max(0),
        coefficients_P,
        strict=True,
    )
    features = tuple(Feature(name, *(float(f"{v:.6g}") for v in values)) for name, *values in columns)
    sides = [side for line in rows.lines for side in line["shape"][1:]]
    classes = [line["classes"] for line in rows.lines]
    return Calibration(
        features, float(f"{middle:.6g}"), 0.0, 0.0, len(rows.lines), len(set(rows.teachers)), 0.0, 0.0,
        (min(sides), max(sides)), (min(classes), max(classes)), MOST_IMAGES, VERSION, 0, 0.0,
    )  # fmt: skip


def residuals(rows: Rows) -> Vector:
    """True minus predicted log odds (N,), each by a calibration without the job's teacher."""
    found_N = np.zeros(len(rows.odds_N))
    for teacher in set(rows.teachers):
        others, own = rows.split(teacher)
        by = fitted(others)
        chosen_N = np.array([name == teacher for name in rows.teachers])
        found_N[chosen_N] = own.odds_N - [judge.log_odds(by, line["signals"]) for line in own.lines]
    return found_N


def calibrated(rows: Rows) -> Calibration:
    """With an interval: from and to quantiles of the residuals of teachers that were left out.

    Every teacher has the same weight, so that the level is that for new teachers, not for new jobs of these
    (Dunn, Wasserman and Ramdas 2022, arXiv 1809.07441, pooled distributions of groups), and half of it goes
    to its good students. Without their correction for few teachers: the level is measured, by `judged_apart`.
    """
    residuals_N, weight_N = residuals(rows), weights(rows)
    tail = (1 - judge.LEVEL) / 2
    low, high = (weighted_quantile(residuals_N, weight_N, share) for share in (tail, 1 - tail))
    return dataclasses.replace(
        fitted(rows), below=float(f"{max(0.0, -low):.5g}"), above=float(f"{max(0.0, high):.5g}")
    )


def weighted_quantile(values: Vector, weights: Vector, share: float) -> float:
    """The smallest value at or below which lies `share` of the weight."""
    order = np.argsort(values)
    below = np.cumsum(weights[order]) / weights.sum()
    return float(values[order][min(int(np.searchsorted(below, share)), len(values) - 1)])


@dataclass(frozen=True)
class Verdict:
    """A job's true relative accuracy, and what was predicted without any job of its teacher."""

    line: Line
    truth: float
    prediction: AccuracyPrediction

    @property
    def covered(self) -> bool:
        """Whether the truth lies in the interval."""
        assert self.prediction.low is not None
        assert self.prediction.high is not None
        return self.prediction.low <= self.truth <= self.prediction.high


def judged_apart(rows: Rows) -> list[Verdict]:
    """Every job, predicted with interval by a calibration without its teacher."""
    verdicts = []
    for teacher in sorted(set(rows.teachers)):
        others, own = rows.split(teacher)
        by = calibrated(others)
        for line in own.lines:
            prediction = judge.estimated(
                line["signals"], tuple(line["shape"]), line["classes"], by.images, by
            )
            verdicts.append(Verdict(line, relative(line), prediction))
    return verdicts


def ranks(values: Sequence[float]) -> Vector:
    """1 for the smallest; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(
        np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True
    )
    all_ranks: Vector = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return all_ranks


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Pearson's correlation of the ranks (Spearman 1904).

    0 where one of them does not vary; None for fewer than `LEAST_RANKED` values.
    """
    a, b = ranks(first), ranks(second)
    if len(a) < LEAST_RANKED:
        return None
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


@dataclass(frozen=True)
class Summary:
    """How the predictions of some jobs compare with the truth; None where no job was predicted."""

    count: int
    """Jobs with a prediction; all other figures are of these."""
    correlation: float | None
    """Spearman's."""
    error: float | None
    """Mean absolute difference of relative accuracies."""
    excess: float | None
    """Mean of predicted minus true relative accuracy."""
    coverage: float | None
    width: float | None
    """Mean width of the intervals."""

    @classmethod
    def of(cls, verdicts: Sequence[Verdict], least: float = 0.0) -> Summary:
        """Of the jobs whose true relative accuracy is `least` or more."""
        known = [v for v in verdicts if v.prediction.relative_accuracy is not None and v.truth >= least]
        predictions = [v.prediction.relative_accuracy or 0.0 for v in known]
        differences = [p - v.truth for p, v in zip(predictions, known, strict=True)]
        return cls(
            len(known),
            spearman(predictions, [v.truth for v in known]),
            _mean([abs(d) for d in differences]),
            _mean(differences),
            _mean([float(v.covered) for v in known]),
            _mean([(v.prediction.high or 0.0) - (v.prediction.low or 0.0) for v in known]),
        )


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


SIGNAL_HEAD = ("signal", "pooled", "mean over teachers")
FIGURES = ("Spearman", "mean error", "predicted too high by", "in interval", "mean width")
HEAD = ("teacher", "jobs", "predicted", *FIGURES)


def table_rows(verdicts: Sequence[Verdict]) -> list[tuple[str, ...]]:
    """A row for each teacher, one of all, and one of all good students, after `HEAD`."""
    teachers = sorted({v.line["teacher"] for v in verdicts})
    parts = [(name, [v for v in verdicts if v.line["teacher"] == name]) for name in teachers]
    good = [v for v in verdicts if v.truth >= judge.GOOD]
    parts += [("all", list(verdicts)), (f"all students of {judge.GOOD:.0%} or more", good)]
    return [(name, str(len(own)), *_cells(Summary.of(own))) for name, own in parts]


def _cells(s: Summary) -> tuple[str, ...]:
    correlation = "-" if s.correlation is None else f"{s.correlation:.2f}"
    shares = (s.error, s.excess, s.coverage, s.width)
    return (str(s.count), correlation, *("-" if one is None else f"{100 * one:.1f} %" for one in shares))


def signal_rows(rows: Rows) -> list[tuple[str, ...]]:
    """Every signal's rank correlation with relative accuracy: pooled, and the mean over teachers."""
    truth = [relative(line) for line in rows.lines]
    found = []
    for name in rows.lines[0]["signals"]:
        values = [line["signals"][name] for line in rows.lines]
        inside = []
        for teacher in set(rows.teachers):
            own = [n for n, one in enumerate(rows.teachers) if one == teacher]
            inside.append(spearman([values[n] for n in own], [truth[n] for n in own]) or 0.0)
        found.append((name, spearman(values, truth) or 0.0, float(np.mean(inside))))
    found.sort(key=lambda row: -abs(row[1]))
    return [(name, f"{pooled:.2f}", f"{mean:.2f}") for name, pooled, mean in found]


def main(arguments: list[str] | None = None) -> None:
    """Measure what is missing, print the tables, write the calibration."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity_calibration", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--data", help="data folder; else DFAD_DATA_DIR, else ../shared/data")
    parser.add_argument("--folder", type=Path, default=jobs.FOLDER, help="where teachers and students lie")
    parser.add_argument("--table-only", action="store_true", help="measure nothing")
    parser.add_argument("--signals", action="store_true", help="print every signal's correlation, too")
    parser.add_argument("--write", action="store_true", help="store the calibration for the engine")
    options = parser.parse_args(arguments)
    if not options.table_only:
        torch.set_num_threads(1)
        try:
            measure(options.folder, options.data)
        except DataMissing as error:
            sys.exit(f"benchmarks.fidelity_calibration: {error}")
    there = lines()
    if not enough(there):
        sys.exit(f"benchmarks.fidelity_calibration: fewer than {LEAST_TEACHERS} teachers have lines")
    rows = Rows.of(there)
    verdicts = judged_apart(rows)
    if options.signals:
        print(markdown(SIGNAL_HEAD, signal_rows(rows)))
    print(markdown(HEAD, table_rows(verdicts)))
    if options.write:
        judge.FILE.write_text(json.dumps(to_json(complete(rows, verdicts)), indent=1) + "\n")


def complete(rows: Rows, verdicts: Sequence[Verdict]) -> Calibration:
    """The calibration of all jobs, with coverage and correlation where each teacher is left out."""
    found, good = Summary.of(verdicts), Summary.of(verdicts, judge.GOOD)
    return dataclasses.replace(
        calibrated(rows),
        coverage=round(found.coverage or 0.0, 3),
        correlation=round(found.correlation or 0.0, 3),
        good=good.count,
        good_coverage=round(good.coverage or 0.0, 3),
    )


if __name__ == "__main__":
    main()
