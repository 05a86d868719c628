"""Images that nobody learns to make: noise, and level sets of smooth random fields.

Both are pure functions of z, like a generator, and have no parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NoiseImages(nn.Module):
    """z itself as an image: independent N(0, 1) pixels in the teacher's normalised space."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.latent_dim = math.prod(shape)

    def forward(self, z_BZ: Tensor) -> Tensor:
        """(B, C * H * W) -> (B, C, H, W), float32."""
        return z_BZ.float().reshape(-1, *self.shape)


class LevelSets(nn.Module):
    """Shapes with clean edges and thin curves: what lies near a level of a smooth random field.

    A field is a sum of random grids of several sides, magnified bicubically. The band around one of its
    levels is a curve, the part above a level a blob; a soft disc may cut either out. Foreground and
    background get levels of brightness of their own. The idea that teachers answer usefully to such
    images is that of learning from procedural noise (Baradad et al. 2021, arXiv 2106.05963); the
    images themselves are of this project.

    `mean` and `std` are the teacher's preprocessing, the only facts about the locked-away images that are
    known. Before it images are taken to lie between 0 and `white_level`; the darker the mean, the more
    often the foreground is the brighter one. Where they are not known (or, having a mean of 0 or less, say
    nothing of the range), each channel of a batch is given mean 0 and deviation 1.
    """

    SIDES = (3, 4, 5, 7, 9)
    _NUMBERS = 12

    def __init__(
        self,
        shape: tuple[int, int, int],
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.channels, self.height, self.width = shape
        self.latent_dim = sum(s * s for s in self.SIDES) + self._NUMBERS + 2 * self.channels
        self.bright_share = 0.5
        self.mean: Tensor | None
        self.std: Tensor | None
        known = mean is not None and std is not None and min(mean) > 0
        white = white_level(mean, std) if known else 1.0  # type: ignore[arg-type]
        for name, values in (("mean", mean), ("std", std)):
            buffer = _per_channel(values) / white if known and values else None
            self.register_buffer(name, buffer, persistent=False)
        if self.mean is not None:
            self.bright_share = 1 - float(self.mean.mean())

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
        images = self._paint(shape, uniform_BN)
        if self.mean is None or self.std is None:
            return F.batch_norm(images, None, None, training=True)
        return (images - self.mean) / self.std

    def _field(self, places_BP: Tensor, choice_B111: Tensor) -> Tensor:
        """One smooth field of deviation 1 an image, (B, 1, H, W); `choice` in [0, 1] says how fine."""
        size, start = (self.height, self.width), 0
        finest = choice_B111 * (len(self.SIDES) - 1)
        total = places_BP.new_zeros(len(places_BP), 1, *size)
        for number, side in enumerate(self.SIDES):
            grid = places_BP[:, start : start + side * side].reshape(-1, 1, side, side)
            start += side * side
            # A tent around the chosen fineness: two neighbouring sides share an image.
            share = (1 - (finest - number).abs()).clamp_min(0)
            total += share * F.interpolate(grid, size=size, mode="bicubic", align_corners=False)
        return total / total.std(dim=(1, 2, 3), keepdim=True).clamp_min(1e-3)

    def _disc(self, between: Callable[[int, float, float], Tensor]) -> Tensor:
        """A soft disc near the middle, (B, 1, H, W) in (0, 1)."""
        right, down = between(6, -0.25, 0.25), between(7, -0.25, 0.25)
        y = torch.linspace(-1, 1, self.height, device=right.device)[:, None]
        x = torch.linspace(-1, 1, self.width, device=right.device)
        distance = ((x - right) ** 2 + (y - down) ** 2).sqrt()
        return torch.sigmoid(10 * (between(8, 0.45, 0.95) - distance))

    def _paint(self, shape_B1HW: Tensor, uniform_BN: Tensor) -> Tensor:
        """Foreground and background levels for each channel, (B, C, H, W) in [0, 1]."""
        first, second = uniform_BN[:, self._NUMBERS :].tensor_split(2, dim=1)
        spread = uniform_BN[:, 9, None] ** 3  # most images near black and white, some of low contrast
        dark, bright = 0.8 * spread * first, 1 - 0.8 * spread * second
        swap = uniform_BN[:, 10, None] >= self.bright_share
        ground, figure = torch.where(swap, bright, dark), torch.where(swap, dark, bright)
        return ground + shape_B1HW * (figure - ground)


def white_level(mean: Sequence[float], std: Sequence[float]) -> float:
    """The largest value of images with this positive mean and this deviation, as far as these tell.

    1 where they fit into [0, 1]. Otherwise that of images of black and white alone, for which mean m and
    deviation s leave no choice: with a share p of white w, m = p w and s^2 = p (1 - p) w^2, so
    w = m + s^2 / m. Other images reach further, none less far.
    """
    if max(mean) <= 1 and max(std) <= 0.5:
        return 1.0
    return max(m + s * s / m for m, s in zip(mean, std, strict=True))


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(tuple(values), dtype=torch.float32).reshape(-1, 1, 1)
