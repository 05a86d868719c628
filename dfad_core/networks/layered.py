"""Networks from a list of layers, whose format `dfad_core.contract.layer_list` defines."""

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
    """Sum of the input and the output of its layers."""

    def forward(self, x: Tensor) -> Tensor:
        """Input and output have one shape."""
        y: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return x + y


def build_layers(
    num_classes: int, input_shape: tuple[int, int, int], *, layers: Sequence[Mapping[str, Any]]
) -> nn.Module:
    """Network from (B, C, H, W) to logits (B, num_classes). Raises ConfigError with the place of an error."""
    complete_layers = layer_list.checked(layers, input_shape, num_classes)
    return _sequence(complete_layers, input_shape, num_classes)[0]


def _sequence(
    layers: Sequence[Mapping[str, Any]], shape: layer_list.Shape, classes: int
) -> tuple[nn.Sequential, layer_list.Shape]:
    modules: list[nn.Module] = []
    for layer in layers:
        modules.append(_module(layer, shape, classes))
        shape = layer_list.KINDS[layer["type"]].shape(shape, layer, classes)
    return nn.Sequential(*modules), shape


def _module(layer: Mapping[str, Any], shape: layer_list.Shape, classes: int) -> nn.Module:  # noqa: PLR0911
    name = layer["type"]
    if name in _ACTIVATIONS:
        activation: nn.Module = _ACTIVATIONS[name]()
        return activation
    match name:
        case "conv":
            padding = layer["kernel"] // 2 if layer["padding"] is None else layer["padding"]
            sizes = (layer["kernel"], layer["stride"], padding)
            return nn.Conv2d(shape[0], layer["channels"], *sizes, groups=layer["groups"])
        case "batch_norm":
            return nn.BatchNorm2d(shape[0]) if len(shape) == 3 else nn.BatchNorm1d(shape[0])
        case "group_norm":
            return nn.GroupNorm(layer["groups"], shape[0])
        case "max_pool":
            return nn.MaxPool2d(layer["size"], layer["stride"])
        case "avg_pool":
            return nn.AvgPool2d(layer["size"], layer["stride"])
        case "global_avg_pool":
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        case "flatten":
            return nn.Flatten()
        case "linear":
            return nn.Linear(math.prod(shape), layer["features"] or classes)
        case "residual":
            return Residual(*_sequence(layer["layers"], shape, classes)[0])
    raise ConfigError(f"no layer is called {name!r}", param="layers")
