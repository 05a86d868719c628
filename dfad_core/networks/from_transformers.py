"""Image classifiers of transformers, built from a config alone."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfad_core.contract.errors import ConfigError, ShapeError
from dfad_core.contract.transformers_config import MAX_PARAMETERS

TAKES_PATCHES = "siglip2"
"""Model type that takes images cut into squares."""
CALLS_THEM_HIDDEN = "pp_lcnet"
"""Model type whose answer calls the logits its last hidden state."""


class Logits(nn.Module):
    """Images to logits alone, without the other outputs of transformers."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, classes); one logit z becomes [0, z], which has the same probabilities."""
        settings: Any = self.net.config
        if settings.model_type == TAKES_PATCHES:
            answer = self.net(**_in_patches(x_BCHW, settings.vision_config.patch_size))
        else:
            answer = self.net(pixel_values=x_BCHW)
        logits: Tensor = (
            answer.last_hidden_state if settings.model_type == CALLS_THEM_HIDDEN else answer.logits
        )
        return logits if logits.shape[-1] != 1 else F.pad(logits, [1, 0])


def _in_patches(x_BCHW: Tensor, side: int) -> dict[str, Tensor]:
    """Images as siglip2 takes them: a row of pixels, colours last, for each square of `side` pixels.

    Raises ShapeError where the squares do not cover the image.
    """
    batch, channels, height, width = x_BCHW.shape
    if height % side or width % side:
        text = f"height and width must be multiples of {side}, not {height}x{width}"
        raise ShapeError(text, param="shape")
    rows, columns = height // side, width // side
    squares = x_BCHW.reshape(batch, channels, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
    pixels = squares.reshape(batch, rows * columns, side * side * channels)
    shapes = torch.tensor([[rows, columns]], device=x_BCHW.device).expand(batch, 2)
    return {"pixel_values": pixels, "spatial_shapes": shapes}


def auto_config() -> Any:
    """transformers' AutoConfig, offline. Raises ImportError where transformers is not installed."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoConfig

    return AutoConfig


def classifier_class(settings: Any) -> Any:
    """The image classifier's class for a config object of transformers, which may name one of several."""
    from transformers import MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING

    kinds: Any = MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING[type(settings)]
    if not isinstance(kinds, tuple):
        return kinds
    named = settings.architectures or []
    return next((kind for kind in kinds if kind.__name__ in named), kinds[0])


def build_transformers(
    num_classes: int, input_shape: tuple[int, int, int], *, config: Mapping[str, Any]
) -> Logits:
    """A freshly initialised network; the config's image size and channels, else those of `input_shape`.

    Raises ConfigError where transformers is missing or the config is invalid, ShapeError where the network
    does not take such images.
    """
    channels, height, width = input_shape
    try:
        defaults = auto_config().for_model(config["model_type"]).to_dict()
    except ImportError as error:
        text = "students of transformers need the package transformers, which is not installed here"
        raise ConfigError(text, code="unknown_architecture", param="config.model_type") from error
    unknown = sorted(set(config) - set(defaults))
    if unknown:
        raise ConfigError(f"{config['model_type']} has no such setting", param=f"config.{unknown[0]}")
    usual = {"num_channels": channels, "image_size": height if height == width else (height, width)}
    values = {name: value for name, value in usual.items() if name in defaults} | dict(config)
    try:
        settings = auto_config().for_model(**values, num_labels=num_classes)
        network = classifier_class(settings)
        with torch.device("meta"):
            count = sum(p.numel() for p in network(settings).parameters())
        # Outside of the block above: transformers fills some buffers while it builds.
        model = network(settings) if count <= MAX_PARAMETERS else None
    # The classes of transformers raise errors of any type for an invalid config.
    except Exception as error:
        text = "the config describes no network"
        raise ConfigError(text, code="unknown_architecture", param="config") from error
    if model is None:
        text = f"has {count} parameters; the limit is {MAX_PARAMETERS}"
        raise ConfigError(text, param="config")
    module = Logits(model)
    device = next(module.parameters()).device
    try:
        with torch.no_grad():
            logits = module.eval()(torch.zeros(2, *input_shape, device=device))
    except Exception as error:
        raise ShapeError(f"the network does not take images of {input_shape}", param="shape") from error
    if logits.shape != (2, num_classes):
        raise ShapeError("the network does not give one logit for each class", param="shape")
    return module.train()
