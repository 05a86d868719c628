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
from dfad_core.contract.job_result import AccuracyPrediction, JobResult, OutputFile
from dfad_core.contract.progress import PhaseProgress, Progress

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["DistillResult", "Hooks", "JobHooks", "Pace", "PhaseProgress", "Progress"]

Between = Callable[[], object]
REPORT_SECONDS, QUIET_SECONDS = 1.0, 5.0
"""Time between two reports: with progress since the last report, and without."""
CALL_SIGN_SECONDS = 5.0
"""Time between two signs of life during a call that cannot be split."""
LONGEST_CALL_SECONDS = 900.0
"""Longest duration of a call that cannot be split; a longer one counts as hanging."""


@dataclass(frozen=True)
class AnsweredImages:
    """Images and the teacher's logits on them, in float32 on the CPU."""

    images_BCHW: Tensor
    teacher_BK: Tensor

    def __len__(self) -> int:
        return len(self.images_BCHW)

    def rows(self, index: Tensor) -> AnsweredImages:
        """The images at `index` (int64) with their logits; copies."""
        return AnsweredImages(self.images_BCHW[index], self.teacher_BK[index])


@dataclass
class DistillResult:
    """Result of a run."""

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
    """Figures of the last report."""
    history: list[dict[str, float]] = field(default_factory=list)
    """Reports over time (`step`, `seconds` and metrics); old ones are thinned out."""
    fidelity: dict[str, float] = field(default_factory=dict)
    """How the student answers to the judge's images, by figure and source; empty if stopped."""
    prediction: AccuracyPrediction | None = None
    """Accuracy that the judge predicts by `fidelity`, or why it does not; None if training was stopped."""
    judge_sets: Mapping[str, AnsweredImages] = field(default_factory=dict)
    """The judge's images with the teacher's logits, by source, for the exports; empty if stopped."""
    evaluation: dict[str, Any] = field(default_factory=dict)
    """Basis of `fidelity`: number of `images` planned and `measured` for each source, `seconds` and
    `bound_seconds`, and whether everything was measured (`complete`). Empty if training was stopped."""
    events: list[dict[str, Any]] = field(default_factory=list)
    """Notes and warnings to the hooks, with the step."""
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
    """Expected time of the caller's work after fidelity is measured; a part of every `eta_seconds`."""

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

        Store the student here, so that it survives a failed evaluation or export. It is in eval mode, on the
        training device, and must not be changed. Not `complete`: training was stopped or diverged.
        """

    def phase_progress(self, progress: PhaseProgress) -> None:
        """Progress of evaluation or export, about once a second."""

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
    """Hooks of `dfad_core.job.run_job`: those of the engine, and one for the student's file. One a job."""

    on_student_ready: Callable[[DistillResult, bool], object] | None = None
    """Function that `run_job` sets: it makes the student's file and passes it to `keep_student`."""

    def student_ready(self, result: DistillResult, *, complete: bool) -> None:
        """See Hooks."""
        if self.on_student_ready is not None:
            self.on_student_ready(result, complete)

    def keep_student(self, file: OutputFile, step: int, result: JobResult, *, complete: bool) -> None:
        """The student after `step`, and its result before anything is measured.

        Store the file here, so that it survives a failed evaluation or export; the outcome's files do not
        contain it. Not `complete`: training was stopped or diverged.
        """


def nothing() -> None:
    """Default for `between` where the caller needs no signs of life."""


class Pace:
    """Pace of the work after training. Called between two batches with the size of the last one.

    Each call asks `hooks.should_stop`, which also shows the caller that the work goes on, and raises Stopped
    for a stop if `obeys` is true. Progress is reported about once a second. `expected_seconds` is the
    expected duration of all batches, `later_seconds` that of the work after them.
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
        self._start = self._report_time = clock()
        self._total, self._count, self._reported_count = total, 0, 0
        self._bound, self._expected, self._later = bound_seconds, expected_seconds, later_seconds

    def __call__(self, done: int = 0) -> None:
        """Count `done` images or formats more. Raises Stopped."""
        reason = self._hooks.should_stop()
        if reason is not None and self._obeys:
            raise Stopped(f"stopped: {reason}")
        self._count += done
        now = self._clock()
        interval = REPORT_SECONDS if self._count != self._reported_count else QUIET_SECONDS
        if self._total and now - self._report_time >= interval:
            self._report_time, self._reported_count = now, self._count
            count = min(self._count, self._total)
            self._hooks.phase_progress(
                PhaseProgress(self._phase, count, self._total, self._unit, self._remaining(count))
            )

    @property
    def seconds(self) -> float:
        """Seconds since construction."""
        return self._clock() - self._start

    def over(self) -> bool:
        """Whether `bound_seconds` are spent."""
        return self.seconds >= self._bound

    def _remaining(self, count: int) -> float | None:
        """Remaining seconds at the speed until now; before the first batch, by `expected_seconds`."""
        spent = self.seconds
        if count == 0:
            rest = (self._expected or 0.0) - spent
            return rest + self._later if rest > 0 else None
        rest = spent * (self._total - count) / count
        return (min(rest, max(0.0, self._bound - spent)) + self._later) or None


@contextmanager
def signs_of_life(between: Between, longest_seconds: float = LONGEST_CALL_SECONDS) -> Iterator[None]:
    """Call `between` from a thread while the block runs one call that cannot be split.

    The thread ends after `longest_seconds`, so that missing signs reveal a call that hangs. A stop that
    `between` raises ends only the thread; the next call after the block raises it again.
    """
    over, deadline = threading.Event(), time.monotonic() + longest_seconds

    def give_signs() -> None:
        while not over.wait(CALL_SIGN_SECONDS) and time.monotonic() < deadline:
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
