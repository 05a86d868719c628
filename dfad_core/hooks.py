"""The callbacks of a run: reports of the engine, and the request to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dfad_core.contract.progress import PhaseProgress, Progress

__all__ = ["Hooks", "JobHooks", "PhaseProgress", "Progress"]

if TYPE_CHECKING:
    from dfad_core.contract.job_result import JobResult
    from dfad_core.job_result import OutputFile
    from dfad_core.training.trainer import DistillResult


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
