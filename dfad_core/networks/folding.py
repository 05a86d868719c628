"""The teacher with its BN layers folded into the convolutions, for passes that need logits only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

TOLERANCE = 1e-3
"""Largest difference of the logits that counts as rounding, as a share of the largest logit."""


@torch.no_grad()
def folded(module: nn.Module, example_BCHW: Tensor) -> nn.Module:
    """A copy of `module`, which is in eval mode, with each `conv -> BN` folded into one convolution.

    Returns `module` itself if it cannot be traced (its forward pass depends on values), if there is nothing
    to fold, or if the copy's logits for `example_BCHW` differ.
    """
    try:
        folded_copy: nn.Module = fuse(module)
    except (TraceError, TypeError, RuntimeError, AttributeError, NotImplementedError):
        return module
    folded_copy.requires_grad_(False).eval()
    if _count(folded_copy) == _count(module):
        return module
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
        expected_BK, logits_BK = module(example_BCHW), folded_copy(example_BCHW)
    size = expected_BK.abs().max().clamp_min(1e-6)
    return folded_copy if bool((expected_BK - logits_BK).abs().max() <= TOLERANCE * size) else module


def _count(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
