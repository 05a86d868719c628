"""Callbacks of a run: reports of the engine, the request to stop, and the pace of the work after training."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dfad_core.contract.errors import Stopped
from dfad_core.contract.job_result import JobResult, OutputFile
from dfad_core.contract.progress import PhaseProgress, Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["DistillResult", "Hooks", "JobHooks", "Pace", "PhaseProgress", "Progress"]

Between = Callable[[], object]
REPORT_SECONDS, QUIET_SECONDS = 1.0, 5.0
"""Between two reports, and where nothing has been done in between."""
CALL_SIGN_SECONDS = 5.0
LONGEST_CALL_SECONDS = 900.0
"""Of an exporter's call that cannot be split. One that takes longer looks like one that hangs, and is one."""


@dataclass
class DistillResult:
    """What a run leaves behind."""

    student: nn.Module
    """Trained, in eval mode, on the CPU."""
    steps: int
    """Finished rounds."""
    seconds: float
    """Training time, interrupted runs included."""
    threads: int
    """CPU threads in use at the end."""
    threads_changed: bool = False
    """Whether the number changed between two rounds: such a run is not repeatable to the bit."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The last report's figures."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Reports over time (`step`, `seconds` and metrics), thinned out where old."""
    fidelity: dict[str, float] = field(default_factory=dict)
    """Agreement with the teacher on inputs never trained on, by source; empty if stopped."""
    evaluation: dict[str, Any] = field(default_factory=dict)
    """What `fidelity` rests on: `images` planned for each source and `measured` of it, `seconds` and
    `bound_seconds`, and whether all was measured (`complete`). Empty if training was stopped."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """What the hooks were told, with the step."""
    samples: NDArray[np.uint8] | None = None
    """A picture of the generator's last images."""
    synthetic_BCHW: Tensor | None = None
    """Inputs in the teacher's normalised space that were never trained on, on the CPU; None if stopped."""


class Hooks:
    """Callbacks of the engine. Every method does nothing here; override those that matter.

    A hook runs inside the training process, between two steps or, after training, between two batches. It may
    be slow (the work waits) and may raise (the work ends with that error).
    """

    pictures: Sequence[tuple[int, bytes]] = ()
    """Earlier pictures (PNG) with their steps, for the report, where the hooks store any."""
    later_seconds: float = 0.0
    """Expected time of what the caller does after fidelity is measured; a part of every `eta_seconds`."""

    def phase(self, name: str) -> None:
        """A phase begins: `warming_up`, `distilling` or `evaluating`; `exporting` in a job."""

    def progress(self, progress: Progress) -> None:
        """Figures of the loop, at most one report in `progress_seconds`."""

    def samples(self, step: int, grid_HWC: NDArray[np.uint8]) -> None:
        """A picture of the newest synthetic images, 0 to 255, with 1 or 3 channels."""

    def checkpoint(self, step: int, data: bytes) -> None:
        """Everything that `distill(..., resume=data)` needs to go on after `step`."""

    def student_ready(self, result: DistillResult, *, complete: bool) -> None:
        """Training is over: `result.student` is its student, and nothing of it is measured yet.

        The moment to store the student, whatever becomes of evaluation and exports. It is in eval mode, on
        the device that trained it, and must not be changed. Not `complete`: training was stopped or diverged.
        """

    def phase_progress(self, progress: PhaseProgress) -> None:
        """How far evaluation or export is, about once a second."""

    def note(self, code: str, data: Mapping[str, object]) -> None:
        """A fact worth knowing, such as `threads_chosen`; `data` are its figures, often with a `message`."""

    def warn(self, code: str, data: Mapping[str, object]) -> None:
        """A fact that may need a person's attention, such as `collapse_suspected`."""

    def should_stop(self) -> str | None:
        """A reason to stop, or None. Called after every step, so it must be cheap.

        After training it is called between two batches, and by another thread while an exporter runs.
        """
        return None


class JobHooks(Hooks):
    """What `dfad_core.job.run_job` calls: the engine's hooks, and the student as a file. One object a job."""

    on_student_ready: Callable[[DistillResult, bool], object] | None = None
    """Set by `run_job`: makes the student's file and hands it to `keep_student`."""

    def student_ready(self, result: DistillResult, *, complete: bool) -> None:
        """See Hooks."""
        if self.on_student_ready is not None:
            self.on_student_ready(result, complete)

    def keep_student(self, file: OutputFile, step: int, result: JobResult, *, complete: bool) -> None:
        """The student after `step`, and its result before anything is measured.

        The moment to keep it, whatever becomes of evaluation and exports; it is not among the files of the
        outcome. Not `complete`: training was stopped or diverged.
        """


def nothing() -> None:
    """For callers that need no signs of life."""


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
