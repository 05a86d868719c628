"""The seam between the engine and whoever runs it: what it tells, and how it is asked to stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dfad_core.job_result import Produced
    from dfad_core.training.trainer import DistillResult


@dataclass(frozen=True)
class Progress:
    """One report from inside the loop. All numbers are plain Python floats and ints."""

    step: int
    """Finished rounds of the game."""
    total_steps: int
    """Planned rounds; an upper bound where the budget is in seconds."""
    seconds: float
    """Training time until now, interrupted runs included."""
    eta_seconds: float | None
    """Expected time still to come, evaluation included; None before the first round is measured."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Means since the last report (losses) or values of the newest batch (the rest)."""
    fraction: float = 0.0
    """Share of the training that is done, 0 to 1: by the clock where the budget is in seconds."""


@dataclass(frozen=True)
class PhaseProgress:
    """One report from what follows training."""

    phase: str
    """`evaluating` or `exporting`."""
    done: int
    total: int
    unit: str
    """What `done` and `total` count: `images` or `formats`."""
    eta_seconds: float | None
    """Expected time to the end of this phase; None where it cannot be told yet."""


class Hooks:
    """What the engine calls. Every method does nothing here; override those that matter.

    A hook runs inside the training process, between two steps or, after training, between two batches. It may
    be slow (the work waits) and may raise (the work ends with that error).
    """

    pictures: Sequence[tuple[int, bytes]] = ()
    """Earlier pictures (PNG) with their steps, for the report, where the hooks have kept any."""
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
        """Training is over: `result.student` is what it gave, and nothing of it is measured yet.

        The moment to keep the student, whatever becomes of evaluation and exports. It is in eval mode, on
        the device that trained it, and only to be read. Not `complete`: training was stopped or diverged.
        """

    def phase_progress(self, progress: PhaseProgress) -> None:
        """How far evaluation or export is, about once a second."""

    def event(self, kind: str, data: dict[str, Any]) -> None:
        """Something a person should know, such as `collapse_suspected`."""

    def should_stop(self) -> str | None:
        """Asked after every step: a reason to stop, or None. Must be cheap.

        After training it is asked between two batches, and by another thread while an exporter is at work.
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

    def keep_student(self, file: Produced, step: int, result: dict[str, Any], *, complete: bool) -> None:
        """The student after `step`, and what is known of it before anything is measured.

        The moment to keep it, whatever becomes of evaluation and exports; it is not among the files of the
        outcome. Not `complete`: training was stopped or diverged.
        """
