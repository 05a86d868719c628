"""Which curves share a drawing. The page keeps their places free before a number is there."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """One drawing: a title, and which series belong to it, as a regular expression that scripts read too."""

    title: str
    series: str
    divisor: float = 1.0
    log: bool = False
    """Whether a logarithmic scale makes sense."""


MEMORY = Figure("Memory of the runner, MiB", "^memory_bytes$", 2.0**20)
STEP_TIME = Figure("Step time, s", "^step_seconds$", log=True)
ONE_JOB = (
    Figure("Agreement in training, and evenness of classes", "^(agreement|class_entropy)$"),
    # All that nothing else wants; the script looks at it last.
    Figure("Losses", "", log=True),
    STEP_TIME,
    Figure("Learning rate", "^learning_rate$", log=True),
    Figure("Distance between samples", "^sample_distance$"),
    MEMORY,
)
FIRST = ("agreement", "student_loss", "generator_loss", "step_seconds")
UNDRAWN = "^(teacher_queries|threads)$"
"""Series without a drawing; their last values stand among the resources."""


def compared(metrics: Sequence[Mapping[str, float]]) -> list[Figure]:
    """One drawing for each series, with a curve for each job; the most telling first."""
    names = dict.fromkeys(name for one in metrics for name in one if not re.match(UNDRAWN, name))
    ordered = [name for name in FIRST if name in names] + [name for name in names if name not in FIRST]
    known = {figure.series: figure for figure in (MEMORY, STEP_TIME)}
    return [
        known.get(f"^{name}$", Figure(name.replace("_", " "), f"^{name}$", log=name.endswith("loss")))
        for name in ordered
    ]
