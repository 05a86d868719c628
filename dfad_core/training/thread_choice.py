"""Number of CPU threads of a run: one or all, whichever is faster on the machine as it is now.

The threads of one operation wait for each other at its end. Where another program keeps a processor busy, one
of them is often without a processor, and the others spin meanwhile: all threads together are then many times
slower than one thread (`benchmarks/busy_machine.py` measures it).
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dfad_core.training.runtime import Runtime

GAIN = 1.1
"""Least speed-up for a change of the number of threads."""
TURNS = 2
"""Number of turns of each number of threads in a trial; the load of other programs varies."""
TURN_SECONDS = 0.25
"""Least time of all passes of a turn; at least one pass is timed."""
TRIAL_MACS = 10**10
"""Multiply-accumulates of a trial pass, which set its number of images: from two to a batch."""
SLOW = 1.5
"""Least slow-down, relative to the rounds after the last trial, for a round to count as slow."""
ROUNDS = 3
"""Number of rounds whose median is compared."""
FIRST_PAUSE, LAST_PAUSE = 10.0, 600.0
"""Least and greatest time between two trials, in seconds; it doubles while nothing changes."""
TRIAL_SHARE = 0.2
"""Largest duration of a trial as a share of the pause before the next one."""
HOPELESS = 3.0
"""Slow-down, relative to the best number of threads, from which a number has a single turn: its passes can
take minutes."""


@dataclass(frozen=True)
class Trial:
    """One comparison of one thread with all threads."""

    threads: int
    """The number that was chosen."""
    available: int
    """All threads that the run may use."""
    one_seconds: float
    """Mean time of a pass with one thread."""
    all_seconds: float
    """Mean time of a pass with all threads."""
    changed: bool
    """Whether the number was another one before."""

    def event_data(self) -> dict[str, Any]:
        """Data of the event that reports the trial: its figures and a sentence for the user."""
        one_thread, all_threads = (round(1000 * s, 2) for s in (self.one_seconds, self.all_seconds))
        return {
            "threads": self.threads,
            "available": self.available,
            "one_milliseconds": one_thread,
            "all_milliseconds": all_threads,
            "message": f"Training uses {self.threads} of {self.available} threads: a trial pass took "
            f"{one_thread:g} ms with one thread and {all_threads:g} ms with all.",
        }


class ThreadChoice:
    """Chooses the number of threads before the first round and again when rounds get slow.

    It also tries again from time to time: another program may have ended, or have been idle during the
    first trial. A trial changes no tensor of the run and draws from no random stream. The number is part of
    the checkpoint, because sums over several threads are rounded differently.
    """

    def __init__(
        self, available: int, trial_pass: Callable[[], object], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`trial_pass` is called with torch set to the number of threads under trial."""
        self.available = self.threads = available
        self.changed = False
        """Whether rounds were trained with different numbers."""
        self._pass, self._clock = trial_pass, clock
        self._usual: list[float] = []
        self._recent: list[float] = []
        self._pause = FIRST_PAUSE
        self._tried_at = clock()
        self._trial_seconds = 0.0

    def try_first(self) -> Trial:
        """Compare before the first round, and set torch to the better number."""
        return self._try()

    def after_round(self, seconds: float) -> Trial | None:
        """Record a round's time, and return the trial if one was due."""
        if len(self._usual) < ROUNDS:
            self._usual.append(seconds)
        self._recent = [*self._recent[1 - ROUNDS :], seconds]
        waited = self._clock() - self._tried_at
        slow = statistics.median(self._recent) > SLOW * statistics.median(self._usual)
        if waited < max(FIRST_PAUSE if slow else self._pause, self._trial_seconds / TRIAL_SHARE):
            return None
        trial = self._try()
        self.changed = self.changed or trial.changed
        self._pause = FIRST_PAUSE if trial.changed else min(2 * self._pause, LAST_PAUSE)
        return trial

    def _try(self) -> Trial:
        before, start = self.threads, self._clock()
        turns = {count: [_timed(self._pass, count)] for count in sorted({1, before, self.available})}
        shortest = min(first for (first,) in turns.values())
        for _ in range(1, TURNS):
            for count, seconds in turns.items():
                if seconds[0] < HOPELESS * shortest:
                    seconds.append(_timed(self._pass, count))
        times = {count: statistics.mean(seconds) for count, seconds in turns.items()}
        best = min(times, key=times.__getitem__)
        if times[best] * GAIN < times[before]:
            self.threads = best
        torch.set_num_threads(self.threads)
        self._usual, self._recent = [], []
        self._tried_at = self._clock()
        self._trial_seconds = self._tried_at - start
        return Trial(self.threads, self.available, times[1], times[self.available], self.threads != before)

    def state_dict(self) -> dict[str, Any]:
        """The number, whether it changed, and the usual times of a round."""
        return {"threads": self.threads, "changed": self.changed, "usual": self._usual}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned; the number is limited to the threads of this machine."""
        threads = min(state["threads"], self.available)
        self.changed = state["changed"] or threads != state["threads"]
        self.threads, self._usual = threads, list(state["usual"])
        torch.set_num_threads(threads)


def _timed(trial_pass: Callable[[], object], threads: int) -> float:
    """Mean seconds of a pass with `threads` threads, after one pass that is not timed.

    The mean, because another program makes some passes very slow and does not affect others.
    """
    torch.set_num_threads(threads)
    trial_pass()
    times: list[float] = []
    while sum(times) < TURN_SECONDS:
        start = time.perf_counter()
        trial_pass()
        times.append(time.perf_counter() - start)
    return statistics.mean(times)


class TrialPass:
    """A pass like those of a round: generator and teacher forward, student forward and backward."""

    def __init__(
        self,
        generator: nn.Module,
        teacher: nn.Module,
        student: nn.Module,
        runtime: Runtime,
        *,
        latent_dim: int,
        batch_size: int,
        macs: int,
    ) -> None:
        """`macs`: multiply-accumulates of teacher and student for one image."""
        self._generator, self._teacher, self._student = generator, teacher, student
        self._runtime = runtime
        images = max(2, min(batch_size, TRIAL_MACS // max(macs, 1)))
        self._z_BZ = torch.randn(images, latent_dim, generator=torch.Generator().manual_seed(0))

    def __call__(self) -> None:
        """One pass. It works on copies, so that batch statistics and gradients of the run do not change."""
        generator, student = copy.deepcopy(self._generator), copy.deepcopy(self._student)
        student.requires_grad_(True)
        with torch.random.fork_rng([]), self._runtime.autocast():  # dropout draws from torch's own stream
            with torch.no_grad():
                images_BCHW = generator(self._z_BZ)
                target_BK = self._teacher(images_BCHW).float()
            loss = (student(images_BCHW).float() - target_BK).abs().mean()
        loss.backward()
