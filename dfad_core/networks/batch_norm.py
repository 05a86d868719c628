"""Batch-norm layers: list of them, use of batch statistics, and recalibration after training."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

BN_LAYERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def bn_layers(module: nn.Module) -> list[nn.Module]:
    """The batch-norm layers of `module` that keep running statistics."""
    return [m for m in module.modules() if isinstance(m, BN_LAYERS) and m.running_mean is not None]


@torch.no_grad()
def recalibrate(student: nn.Module, batches: Iterable[Tensor]) -> int:
    """Replace running mean and variance by averages over `batches` (B, C, H, W); return their count.

    During training the running values lag behind, since weights and generator change. Only BN layers are in
    train mode; everything else (dropout) is in eval mode. The student is left in eval mode.
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


@contextmanager
def normalising_by_batch(module: nn.Module) -> Iterator[None]:
    """For the block, BN layers normalise by the batch; running statistics are neither used nor changed."""
    layers = bn_layers(module)
    modes = [layer.training for layer in layers]
    for layer in layers:
        layer.training, layer.track_running_stats = True, False  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer, mode in zip(layers, modes, strict=True):
            layer.training, layer.track_running_stats = mode, True  # type: ignore[assignment]
