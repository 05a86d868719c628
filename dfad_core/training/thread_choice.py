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
"""How many times faster the other number of threads must be to be taken: a tie changes nothing."""
TURNS = 2
"""How often each number of threads has its turn in a trial: another program's load comes and goes."""
TURN_SECONDS = 0.25
"""Least time that the passes of a turn take together; at least one pass is timed."""
TRIAL_MACS = 10**10
"""Multiply-accumulates of a trial pass: as many images as make so many, two at least, a batch at most."""
SLOW = 1.5
"""A round counts as slow when it takes so many times as long as those after the last trial."""
ROUNDS = 3
"""Number of rounds whose median is compared."""
FIRST_PAUSE, LAST_PAUSE = 10.0, 600.0
"""Seconds between two trials: the first at least; doubled up to the last while nothing changes."""
TRIAL_SHARE = 0.2
"""Largest length of a trial, as a share of the pause behind it: after a long one the next waits longer."""
HOPELESS = 3.0
"""A number of threads that is so many times slower than the best has one turn: passes can take minutes."""


@dataclass(frozen=True)
class Trial:
    """One comparison of one thread with all threads."""

    threads: int
    """The number that was taken."""
    available: int
    """All threads that the run may use."""
    one_seconds: float
    """Mean time of a pass with one thread."""
    all_seconds: float
    """Mean time of a pass with all threads."""
    changed: bool
    """Whether the number was another one before."""

    def about(self) -> dict[str, Any]:
        """The figures of the trial, and a sentence."""
        one, every = (round(1000 * seconds, 2) for seconds in (self.one_seconds, self.all_seconds))
        return {
            "threads": self.threads,
            "available": self.available,
            "one_milliseconds": one,
            "all_milliseconds": every,
            "message": f"Training uses {self.threads} of {self.available} threads: a trial pass took "
            f"{one:g} ms with one thread and {every:g} ms with all.",
        }


class ThreadChoice:
    """Chooses the number of threads before the first round and again when rounds get slow.

    It also looks again from time to time: the other program may have ended, or have been idle during the
    first trial. A trial changes no tensor of the run and draws from no random stream, but sums over several
    threads round differently, so the number belongs into the checkpoint.
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
        """Take note of a round's time; the trial, if one was due. Later trials are rare."""
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
        before, begun = self.threads, self._clock()
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
        self._trial_seconds = self._tried_at - begun
        return Trial(self.threads, self.available, times[1], times[self.available], self.threads != before)

    def state_dict(self) -> dict[str, Any]:
        """The number, whether it changed, and what a round usually takes."""
        return {"threads": self.threads, "changed": self.changed, "usual": self._usual}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the number of the checkpoint, as far as this machine has as many threads."""
        threads = min(state["threads"], self.available)
        self.changed = state["changed"] or threads != state["threads"]
        self.threads, self._usual = threads, list(state["usual"])
        torch.set_num_threads(threads)


def _timed(trial_pass: Callable[[], object], threads: int) -> float:
    """Mean seconds of a pass with `threads` threads, after one pass that is not timed.

    The mean, since a program beside this one makes some passes very slow and leaves others as they are.
    """
    torch.set_num_threads(threads)
    trial_pass()
    taken: list[float] = []
    while sum(taken) < TURN_SECONDS:
        begun = time.perf_counter()
        trial_pass()
        taken.append(time.perf_counter() - begun)
    return statistics.mean(taken)


class TrialPass:
    """Work like a round's, on copies: generator and teacher forward, student forward and backward."""

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
        """One pass. Copies keep batch statistics and gradients of the run as they are."""
        generator, student = copy.deepcopy(self._generator), copy.deepcopy(self._student)
        student.requires_grad_(True)
        with torch.random.fork_rng([]), self._runtime.autocast():  # dropout draws from torch's own stream
            with torch.no_grad():
                images_BCHW = generator(self._z_BZ)
                target_BK = self._teacher(images_BCHW).float()
            loss = (student(images_BCHW).float() - target_BK).abs().mean()
        loss.backward()
