"""The seam between the engine and whoever runs it: what it tells, and how it is asked to stop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    """Expected training time still to come; None before the first round is measured."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Means since the last report (losses) or values of the newest batch (the rest)."""


class Hooks:
    """What the engine calls. Every method does nothing here; override those that matter.

    A hook runs inside the training process, between two steps. It may be slow (training waits)
    and may raise (training ends with that error).
    """

    pictures: Sequence[tuple[int, bytes]] = ()
    """Earlier pictures (PNG) with their steps, for the report, where the hooks have kept any."""

    def phase(self, name: str) -> None:
        """A phase begins: `warming_up`, `distilling` or `evaluating`."""

    def progress(self, progress: Progress) -> None:
        """Figures of the loop, at most one report in `progress_seconds`."""

    def samples(self, step: int, grid_HWC: NDArray[np.uint8]) -> None:
        """A picture of the newest synthetic images, 0 to 255, with 1 or 3 channels."""

    def checkpoint(self, step: int, data: bytes) -> None:
        """Everything that `distill(..., resume=data)` needs to go on after `step`."""

    def event(self, kind: str, data: dict[str, Any]) -> None:
        """Something a person should know, such as `collapse_suspected`."""

    def should_stop(self) -> str | None:
        """Asked after every step: a reason to stop, or None. Must be cheap."""
        return None
