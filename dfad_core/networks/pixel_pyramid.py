"""Images as parameters: pixels and coarse grids that are added to them.

Gradient steps on pixels alone change single pixels first, as no camera would. With coarse grids beside
them the same steps change shapes and shades as well, as the bases of feature visualization do (Olah,
Mordvintsev and Schubert 2017).

Shapes: B images, C channels, H and W sides.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

COARSER = (2, 4)
"""Sides of the grids: those of the images, divided by these."""
MARGIN = 0.02
"""Share of the range that images keep from black and from white at the start: there the gradient vanishes."""


class PixelPyramid(nn.Module):
    """Begins as `images_BCHW`; stays between `bounds`, black and white (C, 1, 1), where they are known."""

    def __init__(self, images_BCHW: Tensor, bounds: tuple[Tensor, Tensor] | None) -> None:
        super().__init__()
        self._bounds = None
        if bounds is not None:
            low, high = self._bounds = bounds[0].to(images_BCHW), bounds[1].to(images_BCHW)
            shares = (images_BCHW - low) / (high - low)
            images_BCHW = torch.logit(shares.clamp(0, 1) * (1 - 2 * MARGIN) + MARGIN)
        self.pixels = nn.Parameter(images_BCHW.clone())
        count, channels, height, width = images_BCHW.shape
        sides = [(max(1, height // by), max(1, width // by)) for by in COARSER]
        self.grids = nn.ParameterList(images_BCHW.new_zeros(count, channels, *side) for side in sides)

    def forward(self, rows: Tensor) -> Tensor:
        """The images at `rows` (int64)."""
        images = self.pixels[rows]
        for grid in self.grids:
            images = images + F.interpolate(
                grid[rows], images.shape[-2:], mode="bilinear", align_corners=False
            )
        if self._bounds is None:
            return images
        low, high = self._bounds
        return torch.addcmul(low, torch.sigmoid(images), high - low)
