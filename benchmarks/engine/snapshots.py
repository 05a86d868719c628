"""Accuracy during a run: copies of the student's weights on the way, scored after the run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dfad_core.hooks import Hooks, Progress

FIRST_UPDATES, FIRST_QUERIES = 125, 2_000
"""Student updates and teacher queries of the first checkpoint; each further one is at twice as many."""


@dataclass(frozen=True)
class Snapshot:
    """The student's weights at one moment."""

    seconds: float
    """Since the run began."""
    step: int
    queries: int
    """Images that the teacher had labelled by then."""
    weights: dict[str, Tensor]


class Snapshots(Hooks):
    """Copies of `student`, which the engine trains in place, at evenly spaced times.

    With `updates_a_round`, there are copies at doubling numbers of student updates and of teacher queries
    besides, in `checkpoints`: runs of different speed are compared there. Copies are made between two
    rounds and scored after the run, so scoring costs no training time. BN statistics are those of the
    moment: only the final student is recalibrated. Time counts from the start of the phase `since`.
    """

    def __init__(
        self,
        student: nn.Module,
        seconds: float,
        points: int = 10,
        *,
        since: str = "warming_up",
        updates_a_round: int | None = None,
    ) -> None:
        self._student, self._since, self._updates_a_round = student, since, updates_a_round
        self._due = [seconds * (i + 1) / points for i in range(points - 1)]
        self._due_updates, self._due_queries = FIRST_UPDATES, FIRST_QUERIES
        self._started = time.monotonic()
        self._step = 0
        self._reported = (0, 0)
        self.tenths: list[Snapshot] = []
        self.checkpoints: list[Snapshot] = []

    def phase(self, name: str) -> None:
        """The phase `since` starts the clock; the first checkpoint is the untrained student."""
        if name == self._since:
            self._started = time.monotonic()
            if self._updates_a_round is not None:
                self.checkpoints = [self._snapshot(0.0)]

    def progress(self, progress: Progress) -> None:
        """Keeps the number of teacher queries with its step."""
        self._reported = (progress.step, int(progress.metrics["teacher_queries"]))

    @property
    def queries(self) -> int:
        """Until now: the last report's, scaled to the present step (every round has as many)."""
        step, queries = self._reported
        return round(queries * self._step / step) if step else 0

    def should_stop(self) -> str | None:
        """Called by the engine after every round; never stops it."""
        self._step += 1
        elapsed = time.monotonic() - self._started
        if self._due and elapsed >= self._due[0]:
            self._due = [due for due in self._due if due > elapsed]
            self.tenths.append(self._snapshot(elapsed))
        if self._checkpoint_due():
            self.checkpoints.append(self._snapshot(elapsed))
        return None

    def _checkpoint_due(self) -> bool:
        if self._updates_a_round is None:
            return False
        updates, queries = self._step * self._updates_a_round, self.queries
        due = updates >= self._due_updates or queries >= self._due_queries
        while updates >= self._due_updates:
            self._due_updates *= 2
        while queries >= self._due_queries:
            self._due_queries *= 2
        return due

    def _snapshot(self, elapsed: float) -> Snapshot:
        weights = {n: t.detach().to("cpu", copy=True) for n, t in self._student.state_dict().items()}
        return Snapshot(elapsed, self._step, self.queries, weights)


@torch.no_grad()
def same_network(module: nn.Module, weights: dict[str, Tensor]) -> nn.Module:
    """`module` with these weights, in eval mode."""
    module.load_state_dict(weights)
    return module.eval()
