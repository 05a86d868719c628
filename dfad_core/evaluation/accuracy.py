"""Accuracy: only with labels, only on data that its caller names."""

from __future__ import annotations

import torch
from torch import Tensor, nn


@torch.no_grad()
def accuracy(module: nn.Module, x_BCHW: Tensor, y_B: Tensor, batch_size: int = 512) -> float:
    """Share of `x_BCHW` whose largest logit is the label in `y_B`; the module is put in eval mode."""
    module.eval()
    hits = 0
    for images, labels in zip(torch.split(x_BCHW, batch_size), torch.split(y_B, batch_size), strict=True):
        hits += int((module(images).argmax(1) == labels).sum())
    return hits / len(y_B)
