"""A network from a list of layers; `dfad_core.contract.layer_list` says what may stand in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from dfad_core.contract import layer_list
from dfad_core.contract.errors import ConfigError

_ACTIVATIONS = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
}


class Residual(nn.Sequential):
    """Adds what its layers make of the input to the input."""

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as `x`."""
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return x + y


def build_layers(
    num_classes: int, input_shape: tuple[int, int, int], *, layers: Sequence[Mapping[str, Any]]
) -> nn.Module:
    """(B, C, H, W) to logits (B, num_classes). Raises ConfigError with the place of what does not fit."""
    checked = layer_list.checked(layers, input_shape, num_classes)
    return _sequence(checked, input_shape, num_classes)[0]


def _sequence(
    layers: Sequence[Mapping[str, Any]], shape: layer_list.Shape, classes: int
) -> tuple[nn.Sequential, layer_list.Shape]:
    modules: list[nn.Module] = []
    for given in layers:
        modules.append(_module(given, shape, classes))
        shape = layer_list.KINDS[given["type"]].shape(shape, given, classes)
    return nn.Sequential(*modules), shape


def _module(given: Mapping[str, Any], shape: layer_list.Shape, classes: int) -> nn.Module:  # noqa: PLR0911
    name = given["type"]
    if name in _ACTIVATIONS:
        activation: nn.Module = _ACTIVATIONS[name]()
        return activation
    match name:
        case "conv":
            padding = given["kernel"] // 2 if given["padding"] is None else given["padding"]
            sizes = (given["kernel"], given["stride"], padding)
            return nn.Conv2d(shape[0], given["channels"], *sizes, groups=given["groups"])
        case "batch_norm":
            return nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(shape[0])
        case "group_norm":
            return nn.GroupNorm(given["groups"], shape[0])
        case "max_pool":
            return nn.MaxPool2d(given["size"], given["stride"])
        case "avg_pool":
            return nn.AvgPool2d(given["size"], given["stride"])
        case "global_avg_pool":
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case "flatten":
            return nn.Flatten()
        case "linear":
            return nn.Linear(math.prod(shape), given["features"] or classes)
        case "residual":
            return Residual(*_sequence(given["layers"], shape, classes)[0])
    raise ConfigError(f"no layer is called {name!r}", param="layers")
