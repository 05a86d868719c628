"""The teacher with its BN layers folded into the convolutions, for passes that need logits only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

TOLERANCE = 1e-3
"""Largest difference of the logits, as a share of their largest size, that still counts as rounding."""


@torch.no_grad()
def folded(module: nn.Module, example_BCHW: Tensor) -> nn.Module:
    """A copy of `module`, which is in eval mode, with `conv -> BN` made one convolution each.

    `module` itself is left as it was. Where it cannot be traced (its forward pass depends on values), where
    nothing can be folded, or where the copy answers otherwise on `example_BCHW`, it is returned as it is.
    """
    try:
        folded_copy: nn.Module = fuse(module)
    except (TraceError, TypeError, RuntimeError, AttributeError, NotImplementedError):
        return module  # as good, only slower
    folded_copy.requires_grad_(False).eval()
    if _count(folded_copy) == _count(module):
        return module
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
        expected_BK, logits_BK = module(example_BCHW), folded_copy(example_BCHW)
    size = expected_BK.abs().max().clamp_min(1e-6)
    return folded_copy if bool((expected_BK - logits_BK).abs().max() <= TOLERANCE * size) else module


def _count(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
