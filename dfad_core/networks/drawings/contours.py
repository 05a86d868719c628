"""Bands between the levels of a smooth random field, in two to six colours, with hard or soft edges."""

from __future__ import annotations

import torch
from torch import Tensor

from dfad_core.networks.drawings.canvas import Canvas

COLOURS = 6


def contours(canvas: Canvas) -> Tensor:
    """(B, C, H, W) in [0, 1]."""
    field = canvas.field(canvas.per_image(low=2.0, high=3.5))
    colours = canvas.palette(COLOURS)
    levels = canvas.normal(canvas.count, COLOURS - 1).sort(dim=1).values
    sharpness = 0.3 * canvas.side * torch.exp(canvas.normal(canvas.count, 1, 1, 1))
    images = colours[:, 0].expand(canvas.count, canvas.channels, canvas.height, canvas.width)
    for number in range(COLOURS - 1):
        above = torch.sigmoid((field - levels[:, number, None, None, None]) * sharpness)
        images = images + above * (colours[:, number + 1] - images)
    return images
