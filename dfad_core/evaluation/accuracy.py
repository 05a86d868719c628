"""Accuracy on labelled data of the caller."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dfad_core.hooks import Between, nothing


def accuracy(module: nn.Module, x_BCHW: Tensor, y_B: Tensor, batch_size: int = 512) -> float:
    """Share of `x_BCHW` whose largest logit is the label in `y_B`; the module is put in eval mode."""
    return accuracy_over(
        module, zip(torch.split(x_BCHW, batch_size), torch.split(y_B, batch_size), strict=True)
    )


@torch.no_grad()
def accuracy_over(
    module: nn.Module, batches: Iterable[tuple[Tensor, Tensor]], between: Between = nothing
) -> float:
    """`accuracy` over batches, which are moved to the module's device; `between` is called after each."""
    module.eval()
    parameter = next(module.parameters(), None)
    hits = total = 0
    for x_BCHW, y_B in batches:
        device = y_B.device if parameter is None else parameter.device
        hits += int((module(x_BCHW.to(device)).argmax(1) == y_B.to(device)).sum())
        total += len(y_B)
        between()
    return hits / total
