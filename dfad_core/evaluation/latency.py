"""How long a network takes on this device."""

from __future__ import annotations

import statistics
import time

import torch
from torch import nn

from dfad_core.contract.evaluation_plan import MOST_TIMED, batch_size, latency_batch
from dfad_core.hooks import Between, nothing

BATCHES = (1, MOST_TIMED)
"""Of large images, and for large networks, fewer at a time."""
MOST_SECONDS = 1.0
"""For one batch size; slow networks are timed fewer times, three at least, once where that takes longer."""
LEAST_RUNS = 3
MOST_RUNS = 50


@torch.no_grad()
def latency(
    module: nn.Module,
    shape: tuple[int, int, int],
    device: torch.device,
    *,
    macs: int = 0,
    between: Between = nothing,
) -> dict[str, float]:
    """Median milliseconds of a forward pass in eval mode, by batch size. `module` ends up on `device`.

    `macs` are the module's for one image, as far as they are known; `between` is called after each pass.
    """
    module.to(device).eval()
    found = {}
    for most in BATCHES:
        batch = latency_batch(macs, batch_size(shape, most))
        found[str(batch)] = _median(module, torch.zeros(batch, *shape, device=device), between)
    return found


def _median(module: nn.Module, x_BCHW: torch.Tensor, between: Between) -> float:
    def once() -> float:
        begun = time.perf_counter()
        module(x_BCHW)
        if x_BCHW.is_cuda:
            torch.cuda.synchronize(x_BCHW.device)
        taken = time.perf_counter() - begun
        between()
        return taken

    least = 1 if once() > MOST_SECONDS else LEAST_RUNS
    ends, taken = time.perf_counter() + MOST_SECONDS, [once() for _ in range(least)]
    while time.perf_counter() < ends and len(taken) < MOST_RUNS:
        taken.append(once())
    return round(1000 * statistics.median(taken), 3)
