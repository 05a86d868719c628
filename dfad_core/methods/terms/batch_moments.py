"""Mean and variance of a batch's features in one pass over them, and their gradient in another.

Features of a network's first layers are far larger than its images. A copy of them in float32 and torch's
own reductions take longer than the network itself; the kernel of batch norm computes both at once.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

EPSILON = 1e-5
"""Added to the variance within the kernel, and taken off again."""


class _Moments(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor) -> tuple[Tensor, Tensor]:
        ones_C = torch.ones(features.shape[1], device=features.device)
        # With weights in float32 the kernel accumulates and returns float32, whatever the features are.
        _, mean_C, inverse_std_C = torch.native_batch_norm(
            features, ones_C, torch.zeros_like(ones_C), None, None, True, 0.0, EPSILON
        )
        ctx.save_for_backward(features, mean_C)
        return mean_C, (inverse_std_C.pow(-2) - EPSILON).clamp_min(0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_mean_C: Tensor, by_var_C: Tensor) -> Tensor:
        features, mean_C = ctx.saved_tensors
        count = features.numel() // features.shape[1]
        # by_mean / count + 2 by_var (x - mean) / count, as batch norm with these weights.
        slope_C, offset_C = 2 * by_var_C / count, by_mean_C / count
        return F.batch_norm(features, mean_C, torch.ones_like(mean_C), slope_C, offset_C, eps=0.0)


def batch_moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance (C,), float32, of features (B, C, ...) of any floating dtype."""
    moments: tuple[Tensor, Tensor] = _Moments.apply(features)  # type: ignore[no-untyped-call]
    return moments
