"""Networks of timm, where it is installed, always without pretrained weights."""

from __future__ import annotations

import importlib
from typing import Any

from torch import nn

from dfad_core.contract.errors import ConfigError


def build_timm(num_classes: int, input_shape: tuple[int, int, int], *, name: str) -> nn.Module:
    """A freshly initialised network; `name` is without the prefix `timm:`.

    Raises ConfigError (`unknown_architecture`) where timm is missing or has no such network.
    """
    try:
        timm = importlib.import_module("timm")
    except ImportError as error:
        text = "architectures of timm need the package timm, which is not installed here"
        raise ConfigError(text, code="unknown_architecture", param="architecture") from error
    options: dict[str, Any] = {"pretrained": False, "num_classes": num_classes, "in_chans": input_shape[0]}
    try:
        try:
            model: nn.Module = timm.create_model(name, img_size=input_shape[1:], **options)
        except TypeError:  # a network that takes any size has no such option
            model = timm.create_model(name, **options)
    except Exception as error:
        text = f"timm cannot build {name!r} here"
        raise ConfigError(text, code="unknown_architecture", param="architecture") from error
    return model
