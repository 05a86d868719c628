"""Time of a forward pass."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from dfad_core.hooks import Between, nothing

MOST_SECONDS = 1.0
"""Usual time for one batch size. Slow networks get fewer runs, and a single one where a pass takes longer."""
LEAST_RUNS = 3
MOST_RUNS = 50


def pass_milliseconds(
    run: Callable[[Tensor], Tensor],
    x_BCHW: Tensor,
    between: Between = nothing,
    most_seconds: float = MOST_SECONDS,
) -> float:
    """Median milliseconds of several passes of `run` in about `most_seconds`, after a first one.

    `between` is called after each.
    """

    def run_once() -> float:
        start = time.perf_counter()
        run(x_BCHW)
        if x_BCHW.is_cuda:
            torch.cuda.synchronize(x_BCHW.device)
        seconds = time.perf_counter() - start
        between()
        return seconds

    least = 1 if run_once() > most_seconds else LEAST_RUNS
    deadline, durations = time.perf_counter() + most_seconds, [run_once() for _ in range(least)]
    while time.perf_counter() < deadline and len(durations) < MOST_RUNS:
        durations.append(run_once())
    return round(1000 * statistics.median(durations), 3)
