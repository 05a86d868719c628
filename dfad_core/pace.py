"""What goes on after training, batch by batch: signs of life, a stop that is obeyed, a clock, progress."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dfad_core.errors import Stopped
from dfad_core.hooks import Hooks, PhaseProgress

Between = Callable[[], object]
REPORT_SECONDS, QUIET_SECONDS = 1.0, 5.0
"""Between two reports, and where nothing has been done in between."""
CALL_SIGN_SECONDS = 5.0
LONGEST_CALL_SECONDS = 900.0
"""Of an exporter's call that cannot be split. One that takes longer looks like one that hangs, and is one."""


def nothing() -> None:
    """For callers whom nobody watches."""


class Pace:
    """Called between two batches, with how many images or formats the one before had.

    Each call asks `hooks.should_stop`, by which others see that the work goes on, and raises Stopped if a
    stop is wanted and `obeys` is true. Progress is told about once a second. `expected_seconds` is how
    long it should take in all, `later_seconds` what comes after it.
    """

    def __init__(
        self,
        hooks: Hooks,
        phase: str,
        *,
        total: int = 0,
        unit: str = "images",
        bound_seconds: float = math.inf,
        expected_seconds: float | None = None,
        later_seconds: float = 0.0,
        obeys: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._hooks, self._phase, self._unit = hooks, phase, unit
        self._obeys, self._clock = obeys, clock
        self._begun = self._reported = clock()
        self._total, self._done, self._told = total, 0, 0
        self._bound, self._expected, self._later = bound_seconds, expected_seconds, later_seconds

    def __call__(self, done: int = 0) -> None:
        """Raises Stopped."""
        reason = self._hooks.should_stop()
        if reason is not None and self._obeys:
            raise Stopped(f"stopped: {reason}")
        self._done += done
        now = self._clock()
        rest = REPORT_SECONDS if self._done != self._told else QUIET_SECONDS
        if self._total and now - self._reported >= rest:
            self._reported, self._told = now, self._done
            counted = min(self._done, self._total)
            self._hooks.phase_progress(
                PhaseProgress(self._phase, counted, self._total, self._unit, self._remaining(counted))
            )

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return self._clock() - self._begun

    def over(self, share: float = 1.0) -> bool:
        """Whether that share of the time is spent."""
        return self.seconds >= share * self._bound

    def _remaining(self, counted: int) -> float | None:
        """As fast as until now; at first, as was expected before. None where that is over already."""
        spent = self.seconds
        if counted == 0:
            left = (self._expected or 0.0) - spent
            return left + self._later if left > 0 else None
        left = spent * (self._total - counted) / counted
        return (min(left, max(0.0, self._bound - spent)) + self._later) or None


@contextmanager
def signs_of_life(between: Between, longest_seconds: float = LONGEST_CALL_SECONDS) -> Iterator[None]:
    """Around one call that cannot be split: a thread calls `between` while it runs.

    For `longest_seconds` at most, so that a call that hangs is noticed by whoever waits for signs. A stop
    that `between` raises ends the signs alone; it is raised again by the next call after the block.
    """
    over, ends = threading.Event(), time.monotonic() + longest_seconds

    def give_signs() -> None:
        while not over.wait(CALL_SIGN_SECONDS) and time.monotonic() < ends:
            try:
                between()
            except Stopped:
                return

    thread = threading.Thread(target=give_signs, name="signs-of-life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
