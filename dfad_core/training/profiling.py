"""Profile of a run: a table of the time in named regions, and a trace of a few rounds.

Without a profile a region costs next to nothing. With one, every region waits for the device at its end: a
profiled run is slower than others, and its shares matter, not its seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from dfad_core.hooks import Hooks, PhaseProgress, Progress

if TYPE_CHECKING:
    from dfad_core.hooks import DistillResult

_active: Profile | None = None


class Profile:
    """Exclusive seconds and calls of each region: the time in an inner region is not the outer one's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self.total = 0.0
        self._inner: list[float] = []
        self._names: list[str] = []

    @property
    def outermost(self) -> str | None:
        """The outermost current region; None outside of all."""
        return self._names[0] if self._names else None

    @contextmanager
    def region(self, name: str) -> Iterator[None]:
        """Count the block under `name`."""
        self._inner.append(0.0)
        self._names.append(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
                torch.cuda.synchronize()
            duration = time.perf_counter() - start
            own = duration - self._inner.pop()
            self._names.pop()
            if self._inner:
                self._inner[-1] += duration
            self.seconds[name] = self.seconds.get(name, 0.0) + own
            self.calls[name] = self.calls.get(name, 0) + 1

    def table(self) -> str:
        """One row for each region, the longest first, and one for the time outside of all regions."""
        rest = max(0.0, self.total - sum(self.seconds.values()))
        rows = sorted(((s, n) for n, s in self.seconds.items()), reverse=True)
        rows.append((rest, "python and the rest"))
        lines = [f"{'region':<28} {'seconds':>9} {'share %':>8} {'calls':>8}"]
        for seconds, name in rows:
            share = 100 * seconds / self.total if self.total else 0.0
            lines.append(f"{name:<28} {seconds:9.3f} {share:8.1f} {self.calls.get(name, ''):>8}")
        return "\n".join(lines)


def active() -> bool:
    """Whether a profile is being taken."""
    return _active is not None


def region(name: str) -> AbstractContextManager[None]:
    """Count the block under `name` if a profile is being taken; else nothing."""
    return nullcontext() if _active is None else _active.region(name)


@contextmanager
def attached(
    networks: Mapping[str, nn.Module], optimizers: Sequence[torch.optim.Optimizer]
) -> Iterator[None]:
    """Count the networks' forward passes and the optimizers' steps while a profile is being taken.

    It uses hooks that are removed after the block; the networks' code does not change.
    """
    profile = _active
    if profile is None:
        yield
        return
    handles: list[RemovableHandle] = []
    for name, network in networks.items():
        handles += _counted(profile, name, network)
    for optimizer in optimizers:
        blocks: list[AbstractContextManager[None]] = []
        handles.append(optimizer.register_step_pre_hook(_entering(profile, "optimizer", blocks)))
        handles.append(optimizer.register_step_post_hook(_leaving(blocks)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _counted(profile: Profile, name: str, network: nn.Module) -> list[RemovableHandle]:
    blocks: list[AbstractContextManager[None]] = []
    return [
        network.register_forward_pre_hook(_entering(profile, name, blocks)),
        network.register_forward_hook(_leaving(blocks), always_call=True),
    ]


def _entering(profile: Profile, name: str, blocks: list[AbstractContextManager[None]]) -> Callable[..., None]:
    def enter(*_arguments: object) -> None:
        block = profile.region(name)
        block.__enter__()
        blocks.append(block)

    return enter


def _leaving(blocks: list[AbstractContextManager[None]]) -> Callable[..., None]:
    def leave(*_arguments: object) -> None:
        blocks.pop().__exit__(None, None, None)

    return leave


@contextmanager
def _backward_counted(profile: Profile) -> Iterator[None]:
    """Count every backward pass of the process during the block."""
    plain = Tensor.backward

    def backward(tensor: Tensor, *arguments: Any, **named: Any) -> None:
        outermost = profile.outermost
        with profile.region("backward" if outermost is None else f"backward, {outermost}"):
            plain(tensor, *arguments, **named)  # type: ignore[no-untyped-call]

    Tensor.backward = backward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Tensor.backward = plain  # type: ignore[method-assign]


@contextmanager
def profiled() -> Iterator[Profile]:
    """Take a profile of the block. One at a time in a process."""
    global _active  # noqa: PLW0603 - regions are all over the engine, a profile is of the process
    if _active is not None:
        raise RuntimeError("a profile is being taken already")
    _active = profile = Profile()
    start = time.perf_counter()
    try:
        with _backward_counted(profile):
            yield profile
    finally:
        profile.total = time.perf_counter() - start
        _active = None


class TraceHooks(Hooks):
    """Writes `trace.json` (for chrome://tracing or Perfetto) of a few rounds, and calls the `inner` hooks.

    A context manager around the run: if the run ends during the trace, the trace ends with it. Otherwise it
    would go on to record, and hold in memory, all that the process does.
    """

    FIRST, ROUNDS = 2, 3
    """Number of rounds until the trace begins, as a warm-up, and number of rounds in it."""

    def __init__(self, folder: Path, inner: Hooks | None = None) -> None:
        self._folder, self._inner = folder, inner or Hooks()
        self._round = 0
        activities = [torch.profiler.ProfilerActivity.CPU]
        if torch.cuda.is_available():
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        self._profiler = torch.profiler.profile(activities=activities)
        self._recording = False

    def __enter__(self) -> TraceHooks:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def _end(self) -> None:
        if not self._recording:
            return
        self._recording = False
        self._profiler.stop()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._profiler.export_chrome_trace(str(self._folder / "trace.json"))

    def should_stop(self) -> str | None:
        """Counts rounds; begins and ends the trace."""
        self._round += 1
        if self._round == self.FIRST:
            self._profiler.start()
            self._recording = True
        elif self._round == self.FIRST + self.ROUNDS:
            self._end()
        return self._inner.should_stop()

    def phase(self, name: str) -> None:
        """Passed on."""
        self._inner.phase(name)

    def progress(self, progress: Progress) -> None:
        """Passed on."""
        self._inner.progress(progress)

    def samples(self, step: int, grid_HWC: NDArray[np.uint8]) -> None:
        """Passed on."""
        self._inner.samples(step, grid_HWC)

    def checkpoint(self, step: int, data: bytes) -> None:
        """Passed on."""
        self._inner.checkpoint(step, data)

    def student_ready(self, result: DistillResult, *, complete: bool) -> None:
        """Passed on."""
        self._inner.student_ready(result, complete=complete)

    def phase_progress(self, progress: PhaseProgress) -> None:
        """Passed on."""
        self._inner.phase_progress(progress)

    def note(self, code: str, data: Mapping[str, object]) -> None:
        """Passed on."""
        self._inner.note(code, data)

    def warn(self, code: str, data: Mapping[str, object]) -> None:
        """Passed on."""
        self._inner.warn(code, data)
