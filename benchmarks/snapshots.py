"""Accuracy against time: copies of the student during a run, scored when it is over."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfad_core.hooks import Hooks, Progress


@dataclass(frozen=True)
class Snapshot:
    """The student's weights at one moment."""

    seconds: float
    """Since the run began."""
    step: int
    queries: int
    """Images about which the teacher had been asked by then, as last reported."""
    weights: dict[str, Tensor]


class Snapshots(Hooks):
    """Keeps a copy of `student`, which the engine trains in place, at evenly spaced times.

    Copies are taken between two steps and scored after the run, so that scoring costs it nothing.
    BN statistics are those of the moment: only the engine's final student is recalibrated. Time counts
    from the beginning of the phase `since`.
    """

    def __init__(
        self, student: nn.Module, seconds: float, points: int = 10, *, since: str = "warming_up"
    ) -> None:
        self._student, self._since = student, since
        self._due = [seconds * (i + 1) / points for i in range(points - 1)]
        self._started = time.monotonic()
        self._step = self._queries = 0
        self.taken: list[Snapshot] = []

    def phase(self, name: str) -> None:
        """The phase `since` starts the clock."""
        if name == self._since:
            self._started = time.monotonic()

    def progress(self, progress: Progress) -> None:
        """Remembers how often the teacher was asked."""
        self._queries = int(progress.metrics["teacher_queries"])

    def should_stop(self) -> str | None:
        """Called by the engine after every step; never asks it to stop."""
        self._step += 1
        elapsed = time.monotonic() - self._started
        if self._due and elapsed >= self._due[0]:
            while self._due and elapsed >= self._due[0]:
                self._due.pop(0)
            weights = {n: t.detach().to("cpu", copy=True) for n, t in self._student.state_dict().items()}
            self.taken.append(Snapshot(elapsed, self._step, self._queries, weights))
        return None


@torch.no_grad()
def same_network(module: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """`module` with these weights, in eval mode."""
    module.load_state_dict(weights)
    return module.eval()
