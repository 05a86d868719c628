"""Nearest upsampling by 2 and a 3x3 convolution, computed together at the low resolution."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def upsample_conv(x_BCHW: Tensor, weight_OI33: Tensor, bias_O: Tensor | None) -> Tensor:
    """`conv2d(interpolate(x, scale_factor=2, mode="nearest"), weight, bias, padding=1)`, in 4/9 of the work.

    After nearest upsampling the nine taps of an output pixel fall on only four input pixels. So each
    of the four output phases (even or odd row, even or odd column) is a 2x2 convolution of the input
    with sums of the taps that coincide; one convolution computes all four, and one copy interleaves
    them. The sums are the same in another order, so the results differ by rounding alone.

    Shapes: x (B, I, H, W) -> (B, O, 2H, 2W), channels_last. Gradient: x, weight and bias.
    """
    rows = _merge(weight_OI33, dim=2)  # even and odd output rows
    phases = [phase for row in rows for phase in _merge(row, dim=3)]
    merged_bias = None if bias_O is None else bias_O.repeat(4)
    # Padding by 1 on every side gives each phase one row or column too many; interleaving drops it.
    x = F.conv2d(x_BCHW, torch.cat(phases), merged_bias, padding=1)
    interleaved: Tensor = _Interleave.apply(x)  # type: ignore[no-untyped-call]
    return interleaved


def _merge(weight: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The two 2-tap kernels along `dim` for even and odd outputs: (a, b+c) and (a+b, c)."""
    a, b, c = weight.tensor_split(3, dim)
    return torch.cat((a, b + c), dim), torch.cat((a + b, c), dim)


class _Interleave(torch.autograd.Function):
    """(B, 4*O, H+1, W+1), phases outermost in the channels -> (B, O, 2H, 2W), channels_last.

    Phase (p, q) of output pixel (2y + p, 2x + q) lies at (y + p, x + q). No element is read twice, so
    the gradient is the same copy backwards; what no phase read has gradient 0.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.shape = x.shape
        phases = _phases(x.contiguous(memory_format=torch.channels_last))
        batch, height, _, width, _, channels = phases.shape
        return phases.reshape(batch, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        batch, channels, height, width = ctx.shape
        back_BHWC = gradient.new_empty(batch, height, width, channels)
        edges = back_BHWC.view(batch, height, width, 2, 2, -1)
        edges[:, -1, :, 0] = 0
        edges[:, 0, :, 1] = 0
        edges[:, :, -1, :, 0] = 0
        edges[:, :, 0, :, 1] = 0
        back = back_BHWC.permute(0, 3, 1, 2)
        phases = _phases(back)
        phases.copy_(gradient.permute(0, 2, 3, 1).reshape(phases.shape))
        return back


def _phases(x: Tensor) -> Tensor:
    """A view (B, H, 2, W, 2, O) of channels_last memory (B, 4*O, H+1, W+1)."""
    batch, channels, height, width = x.shape
    out = channels // 4
    row = width * channels
    size = (batch, height - 1, 2, width - 1, 2, out)
    return x.as_strided(size, (height * row, row, row + 2 * out, channels, channels + out, 1))
