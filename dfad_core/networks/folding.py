"""The teacher with its BN layers folded into the convolutions, for passes that need logits only."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse
from torch.fx.proxy import TraceError

from dfad_core.networks.refolding import refolded, unfolded_layers

TOLERANCE = 1e-3
"""Largest difference of the logits that counts as rounding, as a share of the largest logit."""


@torch.no_grad()
def folded(module: nn.Module, example_BCHW: Tensor) -> nn.Module:
    """A copy of `module`, which is in eval mode, with each `conv -> BN` folded into one convolution.

    Returns `module` itself if it cannot be traced (its forward pass depends on values), if there is nothing
    to fold, or if the copy's logits for `example_BCHW` differ. A network that was given without BN, and got
    it back by `unfolding`, is again what was given.
    """
    if unfolded_layers(module):
        return refolded(module).requires_grad_(False).eval()
    try:
        folded_copy: nn.Module = fuse(module)
    except (TraceError, TypeError, RuntimeError, AttributeError, NotImplementedError):
        return module
    folded_copy.requires_grad_(False).eval()
    if _count(folded_copy) == _count(module):
        return module
    with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
        expected_BK, logits_BK = module(example_BCHW), folded_copy(example_BCHW)
    return folded_copy if agrees(logits_BK, expected_BK) else module


def agrees(logits_BK: Tensor, expected_BK: Tensor) -> bool:
    """Whether the logits differ by rounding alone."""
    size = expected_BK.abs().max().clamp_min(1e-6)
    return bool((expected_BK - logits_BK).abs().max() <= TOLERANCE * size)


def _count(module: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
