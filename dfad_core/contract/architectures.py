"""The catalogue of networks: one row an architecture. Torch-free.

A new architecture needs its file in `dfad_core/networks/classifiers` and its row here: names, bounds, the
class to build and the students derived for it all come from the row. A test compares each row's network with
the published number of parameters.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dfad_core.contract import layer_list, transformers_config
from dfad_core.contract.bounds import Range
from dfad_core.contract.errors import ConfigError, ShapeError


@dataclass(frozen=True)
class Architecture:
    """One row of the catalogue."""

    name: str
    title: str
    source: str
    """Paper that the network and its number of parameters come from."""
    input_shape: tuple[int, int, int]
    """Default input: channels, height, width."""
    min_side: int
    """Smallest height and width it accepts."""
    fixed_sides: tuple[int, ...] = ()
    """If not empty, the only square sides it accepts."""
    patch: int = 1
    """If more than 1, it accepts square inputs alone whose side is a multiple of it."""
    args: Mapping[str, Range] = field(default_factory=dict)
    """Integer arguments of the constructor with their bounds."""
    usual_width: int | None = None
    """Default of the argument `width`; None where it has to be read from a file's tensors."""
    width_weight: tuple[str, int] | None = None
    """Weight that has so many rows for each unit of `width`; None: the first, which has one."""
    positions: str = ""
    """Tensor (1, tokens, channels) with one token for each patch and one for the class, if there is any."""
    old_names: tuple[tuple[str, str], ...] = ()
    """Patterns of names in older files, each with the names of today."""
    network: str = ""
    """`module:name` of the class or function that builds it, imported with `dfad_core.networks`; called as
    `network(num_classes, input_shape, **settings, **args)`."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of `network` that are part of the architecture, such as its depth."""
    family: str = ""
    """Architectures from which a teacher's student is derived."""
    rank: int = 0
    """Size within the family: a student's rank is at most its teacher's."""
    general: bool = False
    """Whether students of this architecture are derived for teachers without a family."""
    deployed: bool = False
    """Whether students of this architecture are derived for all teachers of large images."""

    def check_input(self, shape: tuple[int, int, int]) -> None:
        """Raise ShapeError when inputs of `shape` (C, H, W) do not fit."""
        _, height, width = shape
        if self.fixed_sides and (height != width or height not in self.fixed_sides):
            sides = " or ".join(f"{s}x{s}" for s in self.fixed_sides)
            raise ShapeError(f"{self.name} takes {sides} inputs", param="shape")
        if self.patch > 1 and (height != width or height % self.patch):
            raise ShapeError(
                f"{self.name} takes square inputs whose side is a multiple of {self.patch}", param="shape"
            )
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
                names = ", ".join(self.args) or "none"
                raise ConfigError(f"{self.name} has no argument {name!r} (known: {names})", param=name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise ConfigError(f"{name} must be an integer", param=name)
            problem = bound.problem(value)
            if problem:
                raise ConfigError(f"{name} {problem}", param=name)


def _width(most: int, least: int = 1, multiple_of: int | None = None) -> dict[str, Range]:
    return {"width": Range(ge=least, le=most, multiple_of=multiple_of)}


def _imagenet(name: str, title: str, source: str, network: str, family: str, **more: Any) -> Architecture:
    """A network for 64 to 224 pixels whose tensors are named as in the library before the colon of `name`."""
    path = f"{_CLASSIFIERS}.{network}"
    return Architecture(name, title, source, _RGB_224, min_side=32, network=path, family=family, **more)


_HE = "He et al. 2016, arXiv 1512.03385"
_WRN = "Zagoruyko and Komodakis 2016, arXiv 1605.07146"
_LECUN = "LeCun et al. 1998"
_DOSOVITSKIY = "Dosovitskiy et al. 2021, arXiv 2010.11929"
_GREY_32, _RGB_32, _GREY_8, _RGB_224 = (1, 32, 32), (3, 32, 32), (1, 8, 8), (3, 224, 224)
_CLASSIFIERS = "dfad_core.networks.classifiers"

_ROWS = (
    *(
        Architecture(
            name, title, _LECUN, _GREY_32, min_side=28, fixed_sides=(28, 32),
            network=f"{_CLASSIFIERS}.lenet:LeNet5", settings={"half": half}, family="lenet",
            rank=0 if half else 1,
        )
        for name, title, half in (
            ("lenet5", "LeNet-5", False), ("lenet5_half", "LeNet-5, half the width", True),
        )
    ),
    *(
        Architecture(
            f"resnet{depth}", f"ResNet-{depth} (CIFAR)", _HE, _RGB_32, min_side=8, args=_width(256),
            usual_width=16, network=f"{_CLASSIFIERS}.cifar_resnet:CifarResNet", settings={"depth": depth},
            family="cifar_resnet", rank=depth, general=True,
        )
        for depth in (8, 20, 32, 56)
    ),
    *(
        Architecture(
            f"resnet{depth}", f"ResNet-{depth}, 3x3 stem", _HE, _RGB_32, min_side=8, args=_width(256),
            usual_width=64, network=f"{_CLASSIFIERS}.resnet3x3:ResNet3x3", settings={"depth": depth},
            family="resnet3x3", rank=depth, general=True,
        )
        for depth in (18, 34)
    ),
    *(
        Architecture(
            f"wrn_{depth}_{width}", f"WRN-{depth}-{width}", _WRN, _RGB_32, min_side=8,
            network=f"{_CLASSIFIERS}.wide_resnet:WideResNet", settings={"depth": depth, "width": width},
            family="wide_resnet", rank=10 * depth + width,
        )
        for depth, width in ((16, 1), (16, 2), (40, 1), (40, 2))
    ),
    Architecture(
        "vgg11_bn", "VGG-11 with BN", "Simonyan and Zisserman 2015", _RGB_32, min_side=32, args=_width(256),
        usual_width=64, network=f"{_CLASSIFIERS}.vgg:Vgg11", family="vgg",
    ),
    Architecture(
        "mobilenet_v2", "MobileNetV2, CIFAR stem", "Sandler et al. 2018", _RGB_32, min_side=8,
        args=_width(256, least=2), usual_width=32, network=f"{_CLASSIFIERS}.mobilenet_v2:MobileNetV2",
        family="mobilenet_v2",
    ),
    Architecture(
        "mlp8", "Two-layer perceptron", "-", _GREY_8, min_side=8, args=_width(4096),
        network=f"{_CLASSIFIERS}.small:Mlp8", family="mlp",
    ),
    Architecture(
        "cnn8", "Three 3x3 convolutions with BN", "-", _GREY_8, min_side=8, args=_width(512),
        network=f"{_CLASSIFIERS}.small:Cnn8", family="cnn", general=True,
    ),
    *(
        _imagenet(
            f"torchvision:resnet{depth}", f"ResNet-{depth}", _HE, "imagenet.resnet:ResNet", "resnet",
            args=_width(128), usual_width=64, settings={"depth": depth}, rank=depth, deployed=depth == 18,
        )
        for depth in (18, 34, 50, 101)
    ),
    _imagenet(
        "torchvision:mobilenet_v2", "MobileNetV2", "Sandler et al. 2018, arXiv 1801.04381",
        "imagenet.mobilenet:MobileNetV2", "mobilenet", args=_width(64, least=4, multiple_of=4),
        usual_width=32, width_weight=("features.17.conv.2.weight", 10), rank=1, deployed=True,
    ),
    *(
        _imagenet(
            f"torchvision:mobilenet_v3_{size}", f"MobileNetV3, {size}",
            "Howard et al. 2019, arXiv 1905.02244",
            "imagenet.mobilenet:MobileNetV3", "mobilenet", args=_width(32, least=2), usual_width=16,
            width_weight=("classifier.0.weight", rows), settings={"size": size}, rank=rank, deployed=True,
        )
        for size, rows, rank in (("small", 64, 0), ("large", 80, 2))
    ),
    _imagenet(
        "torchvision:efficientnet_b0", "EfficientNet-B0", "Tan and Le 2019, arXiv 1905.11946",
        "imagenet.efficientnet:EfficientNetB0", "efficientnet",
    ),
    _imagenet(
        "torchvision:vgg16_bn", "VGG-16 with BN", "Simonyan and Zisserman 2015, arXiv 1409.1556",
        "vgg:Vgg16", "vgg16",
    ),
    _imagenet(
        "torchvision:densenet121", "DenseNet-121", "Huang et al. 2017, arXiv 1608.06993",
        "imagenet.densenet:DenseNet121", "densenet",
        old_names=((r"(denselayer\d+\.(?:norm|conv))\.(\d)", r"\1\2"),),
    ),
    _imagenet(
        "torchvision:convnext_tiny", "ConvNeXt-Tiny", "Liu et al. 2022, arXiv 2201.03545",
        "imagenet.convnext:ConvNeXtTiny", "convnext",
    ),
    _imagenet(
        "torchvision:vit_b_16", "ViT-B/16", _DOSOVITSKIY, "imagenet.vit:TorchvisionViT", "vit", rank=12,
        patch=16, positions="encoder.pos_embedding",
        old_names=((r"mlp\.linear_1", "mlp.0"), (r"mlp\.linear_2", "mlp.3")),
    ),
    *(
        _imagenet(
            f"timm:vit_{size}_patch16_224", f"ViT-{size.capitalize()}/16",
            "Touvron et al. 2021, arXiv 2012.12877", "imagenet.vit:TimmViT", "vit",
            settings={"heads": heads}, rank=heads, patch=16, positions="pos_embed",
        )
        for size, heads in (("tiny", 3), ("small", 6))
    ),
)  # fmt: skip

ARCHITECTURES: Mapping[str, Architecture] = {row.name: row for row in _ROWS}


@dataclass(frozen=True)
class LayerList(Architecture):
    """Any network of the layers in `dfad_core.contract.layer_list`; its one argument is the list."""

    def check_args(self, args: Mapping[str, Any]) -> None:
        """Raise ConfigError for an invalid list."""
        if set(args) != {layer_list.NAME}:
            raise ConfigError("its one argument is `layers`", param=layer_list.NAME)
        layer_list.checked(args[layer_list.NAME])


@dataclass(frozen=True)
class TransformersNetwork(Architecture):
    """An image classifier of the transformers library; its one argument is the config."""

    def check_args(self, args: Mapping[str, Any]) -> None:
        """Raise ConfigError for an invalid config."""
        if set(args) != {"config"} or not isinstance(args["config"], Mapping):
            raise ConfigError("its one argument is `config`", param="config")
        transformers_config.checked(args["config"])


LAYERS = LayerList(
    layer_list.NAME, "A list of layers", "-", _RGB_32, 1, network="dfad_core.networks.layered:build_layers"
)
TRANSFORMERS = TransformersNetwork(
    transformers_config.NAME,
    "An image classifier of transformers",
    "-",
    (3, 224, 224),
    1,
    network="dfad_core.networks.from_transformers:build_transformers",
)
LIBRARIES = ("timm", "torchvision")
"""Libraries whose networks are architectures, as `timm:<name>`."""
LIBRARY_NAME = rf"({'|'.join(LIBRARIES)}):([a-z0-9_]{{1,80}})"


def get_architecture(name: str) -> Architecture:
    """The row called `name`, `layers`, `transformers`, `timm:<name>` or `torchvision:<name>`.

    Raises ConfigError (`unknown_architecture`). Whether a library has a network of that name is not checked
    here.
    """
    if name == layer_list.NAME:
        return LAYERS
    if name == transformers_config.NAME:
        return TRANSFORMERS
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if found := re.fullmatch(LIBRARY_NAME, name):
        library, own_name = found.groups()
        return Architecture(
            name,
            f"{own_name} of {library}",
            "-",
            _RGB_224,
            1,
            network=f"dfad_core.networks.from_libraries:build_{library}",
            settings={"name": own_name},
        )
    text = f"unknown architecture {name!r}{_near(name)}"
    raise ConfigError(text, code="unknown_architecture", param="architecture")


def _near(name: str) -> str:
    """A question after the names that are meant most likely; nothing where none is near."""
    known: dict[str, list[str]] = {}
    for full in ARCHITECTURES:
        known.setdefault(full.rpartition(":")[2], []).append(full)
    near = difflib.get_close_matches(name[:80].lower(), known, n=2)
    return f"; did you mean {' or '.join(full for one in near for full in known[one])}?" if near else ""
