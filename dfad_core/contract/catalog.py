"""The architectures, one row each. Torch-free: a service reads it without the engine.

Parameter counts are the published ones for 10 classes at the default input; a test holds the
networks to them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dfad_core.contract import layer_list, transformers_config
from dfad_core.contract.bounds import Range
from dfad_core.errors import ConfigError, ShapeError


@dataclass(frozen=True)
class Architecture:
    """One entry of the catalogue."""

    name: str
    title: str
    source: str
    """Paper the network and its parameter count come from."""
    input_shape: tuple[int, int, int]
    """Default input: channels, height, width."""
    min_side: int
    """Smallest height and width it accepts."""
    fixed_sides: tuple[int, ...] = ()
    """If not empty, the only square sides it accepts."""
    args: Mapping[str, Range] = field(default_factory=dict)
    """Integer arguments of the constructor with their bounds."""
    usual_width: int | None = None
    """What the argument `width` is unless it is given; None where it has to be told from a file."""

    def check_input(self, shape: tuple[int, int, int]) -> None:
        """Raise ShapeError when inputs of `shape` (C, H, W) do not fit."""
        _, height, width = shape
        if self.fixed_sides and (height != width or height not in self.fixed_sides):
            sides = " or ".join(f"{s}x{s}" for s in self.fixed_sides)
            raise ShapeError(f"{self.name} takes {sides} inputs", param="shape")
        if min(height, width) < self.min_side:
            raise ShapeError(
                f"{self.name} needs inputs of at least {self.min_side}x{self.min_side}",
                param="shape",
            )

    def check_args(self, args: Mapping[str, Any]) -> None:
        """Raise ConfigError (param = the argument) on an unknown or out-of-bounds argument."""
        for name, value in args.items():
            bound = self.args.get(name)
            if bound is None:
                known = ", ".join(self.args) or "none"
                raise ConfigError(f"{self.name} has no argument {name!r} (known: {known})", param=name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"{name} must be an integer", param=name)
            problem = bound.problem(value)
            if problem:
                raise ConfigError(f"{name} {problem}", param=name)


_HE = "He et al. 2016, arXiv 1512.03385"
_WRN = "Zagoruyko and Komodakis 2016, arXiv 1605.07146"
_LECUN = "LeCun et al. 1998"

_ALL = (
    Architecture("lenet5", "LeNet-5", _LECUN, (1, 32, 32), 28, (28, 32)),
    Architecture("lenet5_half", "LeNet-5, half the width", _LECUN, (1, 32, 32), 28, (28, 32)),
    *(
        Architecture(
            f"resnet{depth}",
            f"ResNet-{depth} (CIFAR)",
            _HE,
            (3, 32, 32),
            8,
            (),
            {"width": Range(ge=1, le=256)},
            16,
        )
        for depth in (8, 20, 32, 56)
    ),
    *(
        Architecture(
            f"resnet{depth}",
            f"ResNet-{depth}, 3x3 stem",
            _HE,
            (3, 32, 32),
            8,
            (),
            {"width": Range(ge=1, le=256)},
            64,
        )
        for depth in (18, 34)
    ),
    *(
        Architecture(f"wrn_{d}_{w}", f"WRN-{d}-{w}", _WRN, (3, 32, 32), 8)
        for d, w in ((16, 1), (16, 2), (40, 1), (40, 2))
    ),
    Architecture(
        "vgg11_bn",
        "VGG-11 with BN",
        "Simonyan and Zisserman 2015",
        (3, 32, 32),
        32,
        (),
        {"width": Range(ge=1, le=256)},
        64,
    ),
    Architecture(
        "mobilenet_v2",
        "MobileNetV2, CIFAR stem",
        "Sandler et al. 2018",
        (3, 32, 32),
        8,
        (),
        {"width": Range(ge=2, le=256)},
        32,
    ),
    Architecture("mlp8", "Two-layer perceptron", "-", (1, 8, 8), 8, (), {"width": Range(ge=1, le=4096)}),
    Architecture(
        "cnn8",
        "Three 3x3 convolutions with BN",
        "-",
        (1, 8, 8),
        8,
        (),
        {"width": Range(ge=1, le=512)},
    ),
)

ARCHITECTURES: Mapping[str, Architecture] = {a.name: a for a in _ALL}


@dataclass(frozen=True)
class LayerList(Architecture):
    """Any network of the layers that `dfad_core.contract.layer_list` knows; its one argument is the list."""

    def check_args(self, args: Mapping[str, Any]) -> None:
        """Raise ConfigError for a list that no input fits."""
        if set(args) != {layer_list.NAME}:
            raise ConfigError("its one argument is `layers`", param=layer_list.NAME)
        layer_list.checked(args[layer_list.NAME])


@dataclass(frozen=True)
class TransformersNetwork(Architecture):
    """Any image classifier of transformers that is known here; its one argument is the config."""

    def check_args(self, args: Mapping[str, Any]) -> None:
        """Raise ConfigError for a config that cannot be."""
        if set(args) != {"config"} or not isinstance(args["config"], Mapping):
            raise ConfigError("its one argument is `config`", param="config")
        transformers_config.checked(args["config"])


LAYERS = LayerList(layer_list.NAME, "A list of layers", "-", (3, 32, 32), 1)
TRANSFORMERS = TransformersNetwork(
    transformers_config.NAME, "An image classifier of transformers", "-", (3, 224, 224), 1
)
TIMM = "timm:"
_TIMM_NAME = re.compile(r"[a-z0-9_]{1,80}")


def get_architecture(name: str) -> Architecture:
    """The entry called `name`, `layers`, `transformers` or `timm:<name>`.

    Raises ConfigError (`unknown_architecture`). Whether a worker's timm knows the name only the worker can
    tell.
    """
    if name == layer_list.NAME:
        return LAYERS
    if name == transformers_config.NAME:
        return TRANSFORMERS
    if name.startswith(TIMM) and _TIMM_NAME.fullmatch(name.removeprefix(TIMM)):
        return Architecture(name, f"{name.removeprefix(TIMM)} of timm", "-", (3, 224, 224), 1)
    try:
        return ARCHITECTURES[name]
    except KeyError:
        raise ConfigError(
            f"unknown architecture {name!r}", code="unknown_architecture", param="architecture"
        ) from None
