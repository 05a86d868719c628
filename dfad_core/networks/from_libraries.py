"""Networks of timm and torchvision, where they are installed, always without pretrained weights."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from dfad_core.contract.errors import ConfigError, ShapeError

SEVERAL_OUTPUTS = ("googlenet", "inception_v3")
"""Networks of torchvision with more than the logits, in training."""


def build_timm(num_classes: int, input_shape: tuple[int, int, int], *, name: str) -> nn.Module:
    """A freshly initialised network; `name` is without the prefix `timm:`.

    Raises ConfigError (`unknown_architecture`) where timm is missing or has no such network, ShapeError
    where it does not take such images.
    """
    create = _library("timm").create_model
    options = {"pretrained": False, "num_classes": num_classes, "in_chans": input_shape[0]}
    network = _built(f"timm:{name}", create, name, {"img_size": input_shape[1:]}, options)
    return _taking(network, f"timm:{name}", input_shape)


def build_torchvision(num_classes: int, input_shape: tuple[int, int, int], *, name: str) -> nn.Module:
    """A freshly initialised classifier of colour images; `name` is without the prefix `torchvision:`.

    Raises ConfigError (`unknown_architecture`) where torchvision is missing or has no such classifier,
    ShapeError where it does not take such images.
    """
    models = _library("torchvision.models")
    channels, height, width = input_shape
    is_known = name in models.list_models(module=models) and name not in SEVERAL_OUTPUTS
    if not is_known or channels != 3 or height != width:
        text = f"torchvision has no classifier {name!r} of square colour images"
        raise ConfigError(text, code="unknown_architecture", param="architecture")
    options = {"weights": None, "num_classes": num_classes}
    network = _built(f"torchvision:{name}", models.get_model, name, {"image_size": height}, options)
    return _taking(network, f"torchvision:{name}", input_shape)


def _taking(network: nn.Module, name: str, shape: tuple[int, int, int]) -> nn.Module:
    """`network`, once it has taken an image where it has weights. Raises ShapeError."""
    device = next(network.parameters()).device
    if device.type == "meta":
        return network
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *shape, device=device))
    except Exception as error:
        sides = "x".join(str(side) for side in shape)
        raise ShapeError(f"{name} does not take images of {sides}", param="shape") from error
    return network.train()


class _WeightsOnMeta(TorchFunctionMode):
    """Layers get their weights from `torch.empty`; those take no memory, while other tensors have values."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty and kwargs.get("device") is None:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def _library(module: str) -> Any:
    """The module. Raises ConfigError where it cannot be imported."""
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # RuntimeError: it was built for another release of torch
        package = module.partition(".")[0]
        text = f"architectures of {package} need the package {package}, which is not installed here"
        raise ConfigError(text, code="unknown_architecture", param="architecture") from error


def _built(
    name: str, create: Callable[..., nn.Module], own_name: str, size: dict[str, Any], options: dict[str, Any]
) -> nn.Module:
    """The network for images of `size`, where it has such an option. Raises ConfigError."""
    library = name.partition(":")[0]

    def built() -> nn.Module:
        try:
            return create(own_name, **size, **options)
        except TypeError:  # a network that takes any size has no such option
            return create(own_name, **options)

    try:
        try:
            return built()
        except Exception:
            device = torch.get_default_device()
            if device.type != "meta":
                raise
            with torch.device("cpu"), _WeightsOnMeta():  # some compute their widths with tensors of values
                return built().to(device)
    except Exception as error:
        text = f"{library} cannot build {own_name!r} here"
        raise ConfigError(text, code="unknown_architecture", param="architecture") from error
