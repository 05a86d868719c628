"""The merged form equals upsampling followed by a convolution: values, borders, gradients."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from dfad_core.networks.upsample_conv import upsample_conv


def plain(x_BCHW: Tensor, weight_OI33: Tensor, bias_O: Tensor | None) -> Tensor:
    """What is written in the paper."""
    return F.conv2d(F.interpolate(x_BCHW, scale_factor=2.0, mode="nearest"), weight_OI33, bias_O, padding=1)


def inputs(shape: tuple[int, ...], out: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
    stream = torch.Generator().manual_seed(sum(shape))
    x_BCHW = torch.randn(shape, dtype=dtype, generator=stream, requires_grad=True)
    weight = torch.randn(out, shape[1], 3, 3, dtype=dtype, generator=stream, requires_grad=True)
    bias = torch.randn(out, dtype=dtype, generator=stream, requires_grad=True)
    return x_BCHW, weight, bias


SHAPES = [(2, 3, 5, 4), (1, 4, 1, 1), (3, 2, 1, 6), (2, 8, 7, 9)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_equals_upsampling_and_convolution(
    shape: tuple[int, ...], memory_format: torch.memory_format
) -> None:
    x_BCHW, weight, bias = inputs(shape, 5)
    ours = upsample_conv(x_BCHW.contiguous(memory_format=memory_format), weight, bias)
    theirs = plain(x_BCHW, weight, bias)
    assert ours.shape == theirs.shape
    assert (ours - theirs).abs().max() < 1e-10
    upstream = torch.randn_like(theirs)
    for got, expected in zip(
        torch.autograd.grad(ours, (x_BCHW, weight, bias), upstream),
        torch.autograd.grad(theirs, (x_BCHW, weight, bias), upstream),
        strict=True,
    ):
        assert (got - expected).abs().max() < 1e-10


def test_without_bias() -> None:
    x_BCHW, weight, _ = inputs((2, 3, 4, 4), 2)
    assert torch.allclose(upsample_conv(x_BCHW, weight, None), plain(x_BCHW, weight, None), atol=1e-12)


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(upsample_conv, inputs((2, 2, 2, 3), 2))


def test_is_channels_last() -> None:
    ours = upsample_conv(*inputs((2, 3, 4, 4), 8))
    assert ours.is_contiguous(memory_format=torch.channels_last)


def test_merges_weights_in_float32_under_autocast() -> None:
    x_BCHW, weight, bias = inputs((2, 16, 4, 4), 8, torch.float32)
    exact = plain(x_BCHW, weight, bias)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = upsample_conv(x_BCHW, weight, bias)
        theirs = plain(x_BCHW, weight, bias)
    assert ours.dtype == theirs.dtype == torch.bfloat16
    error, usual_error = (ours - exact).abs().max(), (theirs - exact).abs().max()
    assert error < 2 * usual_error
    ours.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32
