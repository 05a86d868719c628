"""Preprocessing inside a network that was read from a graph, as a mean and a deviation.

Exports from Keras and for phones contain their preprocessing as Cast, Sub, Div, Mul, Add and Transpose before
the first convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.node import map_arg

TOLERANCE = 1e-4
"""Largest difference of values that count as equal, as a share of the largest value, in float32."""
PIXELS = 0.5
"""Largest value of the probe. It and its double lie in [0, 1], so that no Clip to a pixel range acts."""


def graph_preprocessing(
    module: nn.Module, shape: tuple[int, int, int]
) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Mean and deviation (C) by which the graph normalises its images: (pixel - mean) / std.

    Every function before the first layer is evaluated on a probe. The last result that is an affine function
    of each pixel, in any order of pixels, gives mean and deviation. None where that function is the identity,
    and where the network is no graph.
    """
    if not isinstance(module, fx.GraphModule):
        return None
    coefficients = None
    stream = torch.Generator().manual_seed(0)
    pixels_CHW = PIXELS * torch.rand(shape, generator=stream)
    device = next((p.device for p in module.parameters()), torch.device("cpu"))
    probe_BCHW = torch.stack([torch.zeros_like(pixels_CHW), pixels_CHW, 2 * pixels_CHW]).to(device)
    with torch.enable_grad():
        probe_BCHW.requires_grad_()
        for value in _values_before_layers(module, probe_BCHW):
            coefficients = _affine(value, probe_BCHW) or coefficients
    if coefficients is None:
        return None
    factor_C, summand_C = coefficients
    if bool(((factor_C - 1).abs() < TOLERANCE).all() and (summand_C.abs() < TOLERANCE).all()):
        return None
    if bool((factor_C <= 0).any()):
        return None
    summand_C = torch.where(summand_C.abs() < TOLERANCE, 0.0, summand_C)
    return tuple((-summand_C / factor_C).tolist()), tuple((1 / factor_C).tolist())


def _values_before_layers(module: fx.GraphModule, images: Tensor) -> list[Tensor]:
    """Results of the functions before the first layer with weights, in order."""
    values: dict[fx.Node, Any] = {}
    results = []
    for node in module.graph.nodes:
        if node.op == "placeholder":
            values[node] = images
        elif node.op == "get_attr":
            values[node] = _attribute(module, str(node.target))
        elif node.op == "call_function":
            try:
                values[node] = _call_function(node, values)
            except (RuntimeError, ValueError, IndexError, TypeError):
                break
            if isinstance(values[node], Tensor):
                results.append(values[node])
        else:
            break
    return results


def _call_function(node: fx.Node, values: Mapping[fx.Node, Any]) -> Any:
    assert callable(node.target)
    return node.target(*map_arg(node.args, values.__getitem__), **map_arg(node.kwargs, values.__getitem__))


def _attribute(module: nn.Module, path: str) -> Any:
    attribute: Any = module
    for name in path.split("."):
        attribute = getattr(attribute, name)
    return attribute


def _affine(value: Tensor, probe_BCHW: Tensor) -> tuple[Tensor, Tensor] | None:
    """Factor and summand (C) if `value` is factor * pixel + summand for the probe (0, x, 2 x), else None.

    Each pixel must occur exactly once, in any position: both numbers come from gradients with respect to the
    pixels.
    """
    if not value.requires_grad or value.shape[:1] != (3,) or value.numel() != probe_BCHW.numel():
        return None
    summand, single, double = value.detach().flatten(1)
    tolerance = TOLERANCE * float(value.detach().abs().max())
    if float((double - 2 * single + summand).abs().max()) > tolerance:
        return None
    weights = torch.rand(summand.shape, generator=torch.Generator().manual_seed(1)).to(summand) + 0.5
    factor = _gradient(value, torch.ones_like(summand), probe_BCHW)
    weighted = _gradient(value, weights, probe_BCHW) / factor
    if not torch.allclose(weighted.flatten().sort().values, weights.sort().values, rtol=1e-3):
        return None
    summand_at_pixels = _gradient(value, summand, probe_BCHW) / factor
    factor_C, summand_C = factor.mean((1, 2)), summand_at_pixels.mean((1, 2))
    if not torch.allclose(factor, factor_C[:, None, None].expand_as(factor), rtol=1e-3):
        return None
    return factor_C.cpu(), summand_C.cpu()


def _gradient(value: Tensor, weights: Tensor, probe_BCHW: Tensor) -> Tensor:
    """Gradient (C, H, W) of the sum of `value` times `weights` by the pixels of the probe's second image."""
    total = (value.flatten(1)[1] * weights).sum()
    (gradient,) = torch.autograd.grad(total, probe_BCHW, retain_graph=True)
    return gradient[1]
