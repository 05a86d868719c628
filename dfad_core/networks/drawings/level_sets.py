"""Shapes and curves at the levels of a smooth random field: a pure function of z, without parameters."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from dfad_core.networks.drawings.drawn import DrawnImages
from dfad_core.networks.pixel_range import PixelRange


class LevelSets(DrawnImages):
    """Thin curves and blobs with clean edges: level sets of smooth random fields.

    A field is a sum of random grids of several sizes, interpolated bicubically. The band around one of its
    levels is a curve, the part above a level a blob; a soft disc may mask either. Foreground and background
    each have a brightness. After the idea of learning from procedural noise (Baradad et al. 2021, arXiv
    2106.05963); the images are this project's.

    Images lie between black and white of `pixels`; the darker its mean, the more often the foreground is the
    brighter one. If black and white are unknown, each channel of a batch has the mean and deviation of
    `pixels`, 0 and 1 by default.
    """

    SIDES = (3, 4, 5, 7, 9)
    _NUMBERS = 12

    def __init__(self, shape: tuple[int, int, int], pixels: PixelRange | None = None) -> None:
        super().__init__(shape, pixels)
        self.latent_dim = sum(s * s for s in self.SIDES) + self._NUMBERS + 2 * self.channels
        self.bright_share = 1 - self.pixels.brightness

    @torch.no_grad()
    def forward(self, z_BZ: Tensor) -> Tensor:
        """(B, latent_dim) -> (B, C, H, W), float32, without a graph."""
        z = z_BZ.float()
        places = sum(s * s for s in self.SIDES)
        numbers_BN = z[:, places:]
        uniform_BN = (0.5 * (1 + torch.erf(numbers_BN / math.sqrt(2))))[:, :, None, None]

        def between(number: int, low: float, high: float) -> Tensor:
            return low + (high - low) * uniform_BN[:, number, None]

        field = self._field(z[:, :places], uniform_BN[:, 0, None])
        level = between(1, -1.2, 1.2)
        curve = torch.sigmoid(between(2, 5, 30) * (between(3, 0.1, 0.6) - (field - level).abs()))
        blob = torch.sigmoid(between(2, 2, 25) * (field - level))
        shape = torch.where(uniform_BN[:, 4, None] < 0.75, curve, blob)
        shape = torch.where(uniform_BN[:, 5, None] < 0.7, shape * self._disc(between), shape)
        return self.in_range(self._paint(shape, uniform_BN))

    def _field(self, places_BP: Tensor, choice_B111: Tensor) -> Tensor:
        """A smooth field for each image, (B, 1, H, W), of deviation 1; `choice` in [0, 1] is its fineness."""
        size, start = (self.height, self.width), 0
        finest = choice_B111 * (len(self.SIDES) - 1)
        total = places_BP.new_zeros(len(places_BP), 1, *size)
        for number, side in enumerate(self.SIDES):
            grid = places_BP[:, start : start + side * side].reshape(-1, 1, side, side)
            start += side * side
            # Linear interpolation between the two grids that are next to the chosen fineness.
            share = (1 - (finest - number).abs()).clamp_min(0)
            total += share * F.interpolate(grid, size=size, mode="bicubic", align_corners=False)
        return total / total.std(dim=(1, 2, 3), keepdim=True).clamp_min(1e-3)

    def _disc(self, between: Callable[[int, float, float], Tensor]) -> Tensor:
        """A disc with a soft edge near the middle, (B, 1, H, W) in (0, 1)."""
        right, down = between(6, -0.25, 0.25), between(7, -0.25, 0.25)
        y = torch.linspace(-1, 1, self.height, device=right.device)[:, None]
        x = torch.linspace(-1, 1, self.width, device=right.device)
        distance = ((x - right) ** 2 + (y - down) ** 2).sqrt()
        return torch.sigmoid(10 * (between(8, 0.45, 0.95) - distance))

    def _paint(self, shape_B1HW: Tensor, uniform_BN: Tensor) -> Tensor:
        """The shape in foreground colour on the background colour, (B, C, H, W) in [0, 1]."""
        first, second = uniform_BN[:, self._NUMBERS :].tensor_split(2, dim=1)
        spread = uniform_BN[:, 9, None] ** 3  # most images near black and white, some of low contrast
        dark, bright = 0.8 * spread * first, 1 - 0.8 * spread * second
        swap = uniform_BN[:, 10, None] >= self.bright_share
        ground, figure = torch.where(swap, bright, dark), torch.where(swap, dark, bright)
        return ground + shape_B1HW * (figure - ground)
