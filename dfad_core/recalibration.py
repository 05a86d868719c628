"""The student's BN statistics, measured once more when its weights have come to rest."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dfad_core.methods.terms import bn_layers


@torch.no_grad()
def recalibrate(student: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace running mean and variance by averages over `batches` (B, C, H, W); return their count.

    During training the running values trail weights and generator that both move. Only BN layers
    measure; everything else (dropout) is in eval mode. The student is left in eval mode.
    """
    layers = bn_layers(student)
    student.eval()
    if not layers:
        return 0
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()  # type: ignore[operator]
        layer.momentum = None  # type: ignore[assignment]
        layer.train()
    count = 0
    for images_BCHW in batches:
        student(images_BCHW)
        count += 1
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
    return count
