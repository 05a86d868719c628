"""Progress of a job: the engine's reports, and the percentages that are computed from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_PERCENT = 99.0
"""Largest percentage of a running job."""


@dataclass(frozen=True)
class Progress:
    """One report from inside the training loop. All numbers are plain Python floats and ints."""

    step: int
    """Finished rounds of training."""
    total_steps: int
    """Planned rounds; an upper bound where the budget is in seconds."""
    seconds: float
    """Training time until now, interrupted runs included."""
    eta_seconds: float | None
    """Expected time still to come, evaluation included; None before the first round is measured."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Means since the last report (losses) or values of the newest batch (the rest)."""
    fraction: float = 0.0
    """Spent share of the budget, 0 to 1; by the clock where the budget is in seconds."""

    @property
    def training_percent(self) -> float:
        """Percentage of the training alone."""
        return training_percent(self.step, self.total_steps, self.fraction)

    @property
    def percent(self) -> float:
        """Percentage of the running job."""
        return running_percent(self.training_percent)


@dataclass(frozen=True)
class PhaseProgress:
    """One report from evaluation or export."""

    phase: str
    """`evaluating` or `exporting`."""
    done: int
    """Number of units that are finished."""
    total: int
    """Number of units in this phase."""
    unit: str
    """What `done` and `total` count: `images` or `formats`."""
    eta_seconds: float | None
    """Expected time to the end of this phase; None where it cannot be estimated yet."""


def training_percent(step: int, total_steps: int, fraction: float = 0.0) -> float:
    """Finished part of the training, 0 to 100 with two decimals.

    Training ends at its last step or at the end of its time, whichever comes first, so the larger share
    counts. `fraction` is the spent share of the time, 0 to 1; 0 for a budget in steps.
    """
    by_step = step / total_steps if total_steps > 0 else 0.0
    return round(100 * min(1.0, max(by_step, fraction)), 2)


def running_percent(percent: float) -> float:
    """Percentage of a running job: MOST_PERCENT at most, since evaluation follows training."""
    return min(percent, MOST_PERCENT)


def phase_percent(done: int, total: int) -> float:
    """Finished part of an evaluation or export, 0 to 100 with two decimals."""
    return round(100 * done / max(1, total), 2)
