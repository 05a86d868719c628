"""What the program tells, and what it is told by signals."""

from __future__ import annotations

import itertools
import json
import math
import signal
from collections.abc import Callable, Mapping
from types import FrameType
from typing import IO, TYPE_CHECKING, Any

from dfad_core.hooks import Hooks, PhaseProgress, Progress

if TYPE_CHECKING:
    from dfad_core.training.trainer import DistillResult

INTERRUPTED = "interrupted"
MOST_STEPS = 10_000_000
"""So many rounds stand for none in particular: the clock ends the training."""
MOST_PERCENT = 99.0
"""Of a run that goes on: after training there is evaluation."""


class Lines:
    """One JSON object a line, numbered; each is flushed, for somebody watches."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._numbers = itertools.count(1)

    def tell(self, kind: str, data: Mapping[str, Any]) -> None:
        """Write one line."""
        line = {"seq": next(self._numbers), "type": kind, "data": finite(data)}
        self._stream.write(json.dumps(line) + "\n")
        self._stream.flush()


def finite(value: Any) -> Any:
    """The same with None for numbers that JSON has not."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [finite(inner) for inner in value]
    return value


class Interrupt:
    """The first SIGINT or SIGTERM asks for an end that keeps the student; a second one ends at once."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    def check(self) -> None:
        """Raise KeyboardInterrupt if an end was asked for."""
        if self.asked:
            raise KeyboardInterrupt


class LineHooks(Hooks):
    """The engine's seam over the lines."""

    def __init__(self, lines: Lines, interrupt: Interrupt) -> None:
        self._lines, self._interrupt = lines, interrupt
        self._step = 0
        self.keep: Callable[[DistillResult, bool], object] = lambda *_: None
        """Keeps the student, and is told whether training came to its end."""

    def phase(self, name: str) -> None:
        """See Hooks."""
        self._lines.tell("phase", {"phase": name})

    def progress(self, progress: Progress) -> None:
        """See Hooks."""
        self._step = progress.step
        told = {
            "step": progress.step,
            "total_steps": progress.total_steps if progress.total_steps < MOST_STEPS else None,
            "seconds": progress.seconds,
            "percent": min(MOST_PERCENT, round(100 * progress.fraction, 2)),
            "eta_seconds": progress.eta_seconds,
            "metrics": progress.metrics,
        }
        self._lines.tell("progress", told)

    def student_ready(self, result: DistillResult, *, complete: bool) -> None:
        """See Hooks."""
        self.keep(result, complete)

    def phase_progress(self, progress: PhaseProgress) -> None:
        """See Hooks."""
        about = {
            "step": self._step,
            "percent": MOST_PERCENT,
            "eta_seconds": progress.eta_seconds,
            "phase": {"done": progress.done, "total": progress.total, "unit": progress.unit},
        }
        self._lines.tell("progress", about)

    def event(self, kind: str, data: dict[str, Any]) -> None:
        """See Hooks."""
        noted = data.get("level") == "info"
        about = {name: value for name, value in data.items() if name != "level"}
        self._lines.tell("note" if noted else "warning", {"code": kind, **about})

    def should_stop(self) -> str | None:
        """See Hooks."""
        return INTERRUPTED if self._interrupt.asked else None
