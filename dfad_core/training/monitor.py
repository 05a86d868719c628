"""Figures of a run: sums on the device, read and reported at intervals, and the watch for collapse."""

from __future__ import annotations

import math
import time
from typing import Any

import torch
from torch import Tensor

from dfad_core.contract.config import DistillConfig
from dfad_core.contract.evaluation_plan import EvaluationBudget
from dfad_core.data import Batch
from dfad_core.evaluation.diversity import class_entropy_of, sample_distance
from dfad_core.hooks import Hooks, Progress
from dfad_core.training.collapse import CollapseWatch
from dfad_core.training.image_sources import DRAWN
from dfad_core.training.run_state import RunState
from dfad_core.training.samples import grid

HISTORY_LIMIT = 512
"""Largest number of entries; beyond it every second one of the older half is dropped."""
RECENT_BATCHES = 10
"""Number of batches whose classes are counted together."""


class Monitor:
    """Collects the figures of a run and reports them. Nothing here changes the training."""

    def __init__(self, config: DistillConfig, hooks: Hooks, run: RunState, budget: EvaluationBudget) -> None:
        self._config, self._hooks, self._run, self._budget = config, hooks, run, budget
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}
        self._collapse = CollapseWatch()
        self._reported_at = self._sampled_at = -math.inf
        self._reported_step, self._reported_seconds = 0, 0.0
        self.history: list[dict[str, float]] = []
        self.events: list[dict[str, Any]] = []
        self.latest: dict[str, float] = {}

    def record(self, name: str, value: Tensor) -> None:
        """Add a scalar to its running sum, on its own device, without waiting for it."""
        value = value.detach()
        total = self._sums.get(name)
        self._sums[name] = value.clone() if total is None else total.add_(value)
        self._counts[name] = self._counts.get(name, 0) + 1

    def note(self, code: str, data: dict[str, Any]) -> None:
        """A note for the hooks and for the result."""
        self.events.append({"kind": code, "step": self._run.clock.step, "level": "info", **data})
        self._hooks.note(code, data)

    def warn(self, code: str, data: dict[str, Any]) -> None:
        """A warning for the hooks and for the result."""
        self.events.append({"kind": code, "step": self._run.clock.step, **data})
        self._hooks.warn(code, data)

    def after_step(self, newest: Batch) -> None:
        """Report progress and samples where they are due."""
        now = time.monotonic()
        if now - self._reported_at >= self._config.progress_seconds:
            self._reported_at = now
            self.report(newest)
        if now - self._sampled_at >= self._config.sample_seconds:
            self._sampled_at = now
            self._hooks.samples(self._run.clock.step, grid(newest.images_BCHW, self._config.input))

    def report_if_new(self, newest: Batch) -> None:
        """Report, unless the last report was of this step."""
        if self._run.clock.step != self._reported_step:
            self.report(newest)

    def report(self, newest: Batch) -> None:
        """Read the device once and pass the figures on. DivergedError if a loss was non-finite."""
        run = self._run
        run.raise_if_not_finite()
        metrics = {name: total.item() / self._counts[name] for name, total in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        recent = run.pool.recent(RECENT_BATCHES) or [newest]
        metrics["agreement"] = self._agreement(newest)
        metrics["class_entropy"] = class_entropy_of(torch.cat([b.teacher_logits_BK for b in recent]))
        metrics["sample_distance"] = sample_distance(newest.images_BCHW)
        clock = run.clock
        steps, seconds = clock.step - self._reported_step, clock.seconds
        if steps > 0:
            metrics["step_seconds"] = (seconds - self._reported_seconds) / steps
        self._reported_step, self._reported_seconds = clock.step, seconds
        metrics["teacher_queries"] = float(run.queries.images * run.group.size)
        if run.guard.dropped:
            metrics["dropped_images"] = float(run.guard.dropped)
        metrics["learning_rate"] = run.student_phase.rate
        if run.runtime.device.type == "cpu":
            metrics["threads"] = float(run.num_threads)
        self.latest = metrics
        self._remember({"step": float(clock.step), "seconds": seconds, **metrics})
        kind = None
        if run.recipe.source not in DRAWN:
            kind = self._collapse.look(metrics["class_entropy"], metrics["sample_distance"])
        if kind is not None:
            names = ("class_entropy", "sample_distance")
            self.warn(kind, {name: metrics[name] for name in names})
        self._hooks.progress(
            Progress(
                clock.step,
                self._config.budget.steps,
                seconds,
                self._eta_seconds(),
                metrics,
                clock.fraction,
            )
        )

    def _eta_seconds(self) -> float | None:
        """Expected time of the rest of the training and of what follows, at the speed until now."""
        clock = self._run.clock
        training = clock.eta_seconds
        if training is None:
            return None
        rounds = round(clock.step / clock.fraction)
        evaluation = self._budget.expected_seconds(rounds, clock.seconds / clock.step)
        return training + evaluation + self._hooks.later_seconds

    def _agreement(self, batch: Batch) -> float:
        run = self._run
        with torch.no_grad(), run.runtime.autocast():
            # Batch statistics of a train-mode student would leak into its running ones.
            run.student.eval()
            slices = batch.images_BCHW.tensor_split(run.slices)
            student_B = torch.cat([run.student(images_BCHW).argmax(dim=1) for images_BCHW in slices])
            run.student.train()
        return float((student_B == batch.teacher_logits_BK.argmax(dim=1)).float().mean().item())

    def _remember(self, entry: dict[str, float]) -> None:
        self.history.append(entry)
        if len(self.history) > HISTORY_LIMIT:
            half = HISTORY_LIMIT // 2
            self.history[:half] = self.history[:half:2]

    def state_dict(self) -> dict[str, Any]:
        """History, events and the state of the collapse watch."""
        return {"history": self.history, "events": self.events, "collapse": self._collapse.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        self.history, self.events = list(state["history"]), list(state["events"])
        if self.history:
            newest = self.history[-1]
            self.latest = {name: value for name, value in newest.items() if name not in ("step", "seconds")}
        self._collapse.load_state_dict(state["collapse"])
        clock = self._run.clock
        self._reported_step, self._reported_seconds = clock.step, clock.seconds
