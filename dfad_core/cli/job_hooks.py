"""A job's hooks over the program's lines and files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dfad_core.cli.lines import UNLIMITED_STEPS, Interrupt, Lines
from dfad_core.contract.progress import MOST_PERCENT
from dfad_core.formats.whole_file import write_whole
from dfad_core.hooks import JobHooks, PhaseProgress, Progress
from dfad_core.training.checkpoint_folder import CheckpointFolder

if TYPE_CHECKING:
    from dfad_core.contract.job_result import JobResult, OutputFile

INTERRUPTED = "interrupted"


class LineHooks(JobHooks):
    """Events, progress and phases as lines; the student and the checkpoints as files.

    `resume_step` is the step of the checkpoint that training goes on from, None without one.
    """

    def __init__(
        self,
        lines: Lines,
        interrupt: Interrupt,
        student: Path,
        checkpoints: CheckpointFolder | None = None,
        resume_step: int | None = None,
    ) -> None:
        self._lines, self._interrupt = lines, interrupt
        self._student, self._checkpoints = student, checkpoints
        self._resume_step = resume_step
        self._step = 0

    def phase(self, name: str) -> None:
        """See Hooks. Raises KeyboardInterrupt where a stop was requested before there is any student."""
        if name == "warming_up":
            self._interrupt.check()
        self._lines.write("phase", {"phase": name})
        if name == "distilling" and self._resume_step is not None:
            text = f"training goes on from step {self._resume_step}"
            self._lines.write("note", {"code": "resumed", "step": self._resume_step, "message": text})

    def progress(self, progress: Progress) -> None:
        """See Hooks."""
        self._step = progress.step
        data = {
            "step": progress.step,
            "total_steps": progress.total_steps if progress.total_steps < UNLIMITED_STEPS else None,
            "seconds": progress.seconds,
            "percent": progress.percent,
            "eta_seconds": progress.eta_seconds,
            "metrics": progress.metrics,
        }
        self._lines.write("progress", data)

    def checkpoint(self, step: int, data: bytes) -> None:
        """See Hooks. A full disk costs the checkpoint and not the training."""
        if self._checkpoints is None:
            return
        try:
            self._checkpoints.save(step, data)
        except OSError as error:
            text = f"the checkpoint of step {step} could not be written: {error.strerror or error}"
            self.warn("checkpoint_failed", {"step": step, "message": text})

    def keep_student(self, file: OutputFile, step: int, result: JobResult, *, complete: bool) -> None:
        """See JobHooks."""
        write_whole(self._student, file.content)

    def phase_progress(self, progress: PhaseProgress) -> None:
        """See Hooks."""
        data = {
            "step": self._step,
            "percent": MOST_PERCENT,
            "eta_seconds": progress.eta_seconds,
            "phase": {"done": progress.done, "total": progress.total, "unit": progress.unit},
        }
        self._lines.write("progress", data)

    def note(self, code: str, data: Mapping[str, object]) -> None:
        """See Hooks."""
        self._lines.write("note", {"code": code, **data})

    def warn(self, code: str, data: Mapping[str, object]) -> None:
        """See Hooks."""
        if code == "checkpoint_unusable":
            self._resume_step = None
        self._lines.write("warning", {"code": code, **data})

    def should_stop(self) -> str | None:
        """See Hooks."""
        return INTERRUPTED if self._interrupt.requested else None
