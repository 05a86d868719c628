"""Latency of a network on this device."""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from dfad_core.contract.evaluation_plan import MOST_TIMED, batch_size, latency_batch
from dfad_core.hooks import Between, nothing

BATCHES = (1, MOST_TIMED)
"""Batch sizes; the larger one shrinks for large images and large networks."""
MOST_SECONDS = 1.0
"""Time for one batch size. Slow networks get fewer runs, and a single one where a pass takes longer."""
LEAST_RUNS = 3
MOST_RUNS = 50


@torch.no_grad()
def latency(
    module: nn.Module,
    shape: tuple[int, int, int],
    device: torch.device,
    *,
    macs: int = 0,
    most: int = MOST_TIMED,
    between: Between = nothing,
) -> dict[str, float]:
    """Median milliseconds of a forward pass in eval mode, by batch size. `module` ends up on `device`.

    `macs` bounds the batch by its multiply-accumulates for one image (0: unknown), `most` by its images;
    `between` is called after each pass.
    """
    module.to(device).eval()
    milliseconds = {}
    for size in BATCHES:
        batch = latency_batch(macs, batch_size(shape, min(size, most)))
        milliseconds[str(batch)] = _median(module, torch.zeros(batch, *shape, device=device), between)
    return milliseconds


def _median(module: nn.Module, x_BCHW: torch.Tensor, between: Between) -> float:
    """Median milliseconds of several passes."""

    def run_once() -> float:
        start = time.perf_counter()
        module(x_BCHW)
        if x_BCHW.is_cuda:
            torch.cuda.synchronize(x_BCHW.device)
        seconds = time.perf_counter() - start
        between()
        return seconds

    least = 1 if run_once() > MOST_SECONDS else LEAST_RUNS
    deadline, durations = time.perf_counter() + MOST_SECONDS, [run_once() for _ in range(least)]
    while time.perf_counter() < deadline and len(durations) < MOST_RUNS:
        durations.append(run_once())
    return round(1000 * statistics.median(durations), 3)
