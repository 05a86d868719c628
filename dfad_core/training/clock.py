"""How far a run is, by steps or by the clock."""

from __future__ import annotations

import time

from dfad_core.contract.config import BudgetConfig


class Clock:
    """Steps and seconds of training of a run, over all its interruptions."""

    def __init__(self, budget: BudgetConfig) -> None:
        self._budget = budget
        self.step = 0
        self._seconds_before = 0.0
        self._started: float | None = None

    @property
    def seconds(self) -> float:
        """Training time until now."""
        running = 0.0 if self._started is None else time.monotonic() - self._started
        return self._seconds_before + running

    @property
    def fraction(self) -> float:
        """Spent share of the budget, 0 to 1."""
        steps = self.step / self._budget.steps
        if self._budget.train_seconds is None:
            return min(steps, 1.0)
        return min(max(self.seconds / self._budget.train_seconds, steps), 1.0)

    @property
    def eta_seconds(self) -> float | None:
        """Expected time to the end; None before the first step."""
        fraction, seconds = self.fraction, self.seconds
        return None if self.step == 0 or fraction == 0 else seconds * (1 - fraction) / fraction

    def start(self, step: int = 0, seconds: float = 0.0) -> None:
        """Begin or go on."""
        self.step, self._seconds_before, self._started = step, seconds, time.monotonic()
