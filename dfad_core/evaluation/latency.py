"""Latency of a network on this device."""

from __future__ import annotations

import torch
from torch import nn

from dfad_core.contract.evaluation_plan import MOST_TIMED, TIMED_BATCHES, batch_size, latency_batch
from dfad_core.hooks import Between, nothing
from dfad_core.networks.pass_time import pass_milliseconds


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
    for size in TIMED_BATCHES:
        batch = latency_batch(macs, batch_size(shape, min(size, most)))
        milliseconds[str(batch)] = pass_milliseconds(
            module, torch.zeros(batch, *shape, device=device), between
        )
    return milliseconds
