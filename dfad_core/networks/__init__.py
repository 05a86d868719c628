"""Networks: the catalogue's classifiers, the generator, and what is found inside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from torch import nn

from dfad_core.contract import layer_list, transformers_config
from dfad_core.contract.catalog import TIMM, get_architecture
from dfad_core.networks.classifiers.cifar_resnet import CifarResNet
from dfad_core.networks.classifiers.lenet import LeNet5
from dfad_core.networks.classifiers.mobilenet_v2 import MobileNetV2
from dfad_core.networks.classifiers.resnet3x3 import ResNet3x3
from dfad_core.networks.classifiers.small import Cnn8, Mlp8
from dfad_core.networks.classifiers.vgg import Vgg11
from dfad_core.networks.classifiers.wide_resnet import WideResNet
from dfad_core.networks.from_timm import build_timm
from dfad_core.networks.from_transformers import build_transformers
from dfad_core.networks.layered import build_layers

_BUILDERS: Mapping[str, Callable[..., nn.Module]] = {
    "lenet5": LeNet5,
    "lenet5_half": partial(LeNet5, half=True),
    **{f"resnet{depth}": partial(CifarResNet, depth=depth) for depth in (8, 20, 32, 56)},
    **{f"resnet{depth}": partial(ResNet3x3, depth=depth) for depth in (18, 34)},
    **{
        f"wrn_{depth}_{width}": partial(WideResNet, depth=depth, width=width)
        for depth, width in ((16, 1), (16, 2), (40, 1), (40, 2))
    },
    "vgg11_bn": Vgg11,
    "mobilenet_v2": MobileNetV2,
    "mlp8": Mlp8,
    "cnn8": Cnn8,
}


def build_classifier(
    name: str,
    *,
    num_classes: int,
    input_shape: tuple[int, int, int],
    args: Mapping[str, Any] | None = None,
) -> nn.Module:
    """A freshly initialised network of the catalogue: (B, C, H, W) float32 -> logits (B, num_classes).

    Raises ConfigError for an unknown name or argument, ShapeError where the input does not fit.
    """
    architecture = get_architecture(name)
    architecture.check_args(args or {})
    architecture.check_input(input_shape)
    if name == layer_list.NAME:
        layers = (args or {})[layer_list.NAME]
        return build_layers(layers, num_classes=num_classes, input_shape=input_shape)
    if name == transformers_config.NAME:
        config = (args or {})["config"]
        return build_transformers(config, num_classes=num_classes, input_shape=input_shape)
    if name.startswith(TIMM):
        return build_timm(name.removeprefix(TIMM), num_classes=num_classes, input_shape=input_shape)
    return _BUILDERS[name](num_classes, input_shape, **(args or {}))
