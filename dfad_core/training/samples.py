"""Pictures of a run's samples."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dfad_core.contract.config import InputConfig
from dfad_core.networks.pixel_range import white_level

SIDE = 8
"""Largest number of images in a row and in a column."""


def grid(images_BCHW: Tensor, config: InputConfig) -> NDArray[np.uint8]:
    """A square picture of the first images, (H, W, 1 or 3), 0 to 255, with black lines between them.

    Pixels are converted to the raw scale where the teacher's mean and std are known, otherwise their range is
    stretched to 0 to 255. Two channels are shown as red and green; of four, the first three.
    """
    side = min(SIDE, int(len(images_BCHW) ** 0.5))
    images = images_BCHW[: side * side].detach().float().cpu().contiguous()
    pixels = _visible(_to_unit_range(images, config))
    count, channels, height, width = pixels.shape
    picture = torch.zeros(side * (height + 1) - 1, side * (width + 1) - 1, channels)
    for i in range(count):
        y, x = i // side * (height + 1), i % side * (width + 1)
        picture[y : y + height, x : x + width] = pixels[i].permute(1, 2, 0)
    return (picture * 255).round().to(torch.uint8).numpy()


def _to_unit_range(images_BCHW: Tensor, config: InputConfig) -> Tensor:
    if config.mean is not None and config.std is not None:
        mean = torch.tensor(config.mean).reshape(1, -1, 1, 1)
        std = torch.tensor(config.std).reshape(1, -1, 1, 1)
        return ((images_BCHW * std + mean) / white_level(config.mean, config.std)).clamp(0, 1)
    low, high = images_BCHW.aminmax()
    return (images_BCHW - low) / (high - low).clamp_min(1e-6)


def _visible(pixels_BCHW: Tensor) -> Tensor:
    channels = pixels_BCHW.shape[1]
    if channels == 2:
        return torch.cat([pixels_BCHW, torch.zeros_like(pixels_BCHW[:, :1])], dim=1)
    return pixels_BCHW[:, :3]
