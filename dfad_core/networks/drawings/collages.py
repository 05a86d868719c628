"""Images of all families, each alone or two in one: blended, or one cut into the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from dfad_core.contract.limits import DRAWN_AT_ONCE
from dfad_core.networks.drawings.canvas import Canvas
from dfad_core.networks.drawings.contours import contours
from dfad_core.networks.drawings.drawn import DrawnImages
from dfad_core.networks.drawings.leaves import leaves
from dfad_core.networks.drawings.random_networks import random_networks
from dfad_core.networks.drawings.shaders import shaders
from dfad_core.networks.drawings.spectra import spectra
from dfad_core.networks.pixel_range import PixelRange, sigmoid_coefficients

Family = Callable[[Canvas], Tensor]

FAMILIES: tuple[tuple[Family, float], ...] = (
    (leaves, 3.0),
    (spectra, 1.0),
    (shaders, 2.0),
    (random_networks, 2.0),
    (contours, 1.0),
)
"""Each family with its share of the images, relative to the others."""
OUTLINE_SLOPE = 2.5
"""How smooth the outlines are by which one image is cut into another."""
COMBINED = 0.5
"""Share of the images that are made of two."""
CONTRAST, LEVEL, SHIFT = 0.5, 0.3, 0.3
"""How much contrast and brightness vary from image to image: deviations of factors' logarithms, and of a
summand in units of the contrast."""


class Collages(DrawnImages):
    """Images of all families. A batch follows from its z alone.

    Where mean and deviation of the teacher's images are known, these have them on average: brightness and
    contrast vary from image to image.
    """

    latent_dim = 1
    families: ClassVar[tuple[tuple[Family, float], ...]] = FAMILIES

    def __init__(self, shape: tuple[int, int, int], pixels: PixelRange | None = None) -> None:
        super().__init__(shape, pixels)
        self.factor: Tensor | None
        self.summand: Tensor | None
        known = self.bounded and self.pixels.statistics
        factor, summand = sigmoid_coefficients(self.pixels) if known else (None, None)
        self.register_buffer("factor", factor, persistent=False)
        self.register_buffer("summand", summand, persistent=False)

    @torch.no_grad()
    def forward(self, z_B1: Tensor) -> Tensor:
        """(B, 1) -> (B, C, H, W), float32, without a graph. The same z gives the same batch.

        Large batches are drawn in parts, since drawing takes many times the memory of the images.
        """
        digest = hashlib.sha256(z_B1.detach().float().cpu().numpy().tobytes()).digest()
        stream = torch.Generator(z_B1.device).manual_seed(int.from_bytes(digest[:7], "big"))
        with torch.autocast(z_B1.device.type, enabled=False):
            most = max(1, DRAWN_AT_ONCE // (self.channels * self.height * self.width))
            parts = [self._toned(self.draw(len(z), stream), stream) for z in torch.split(z_B1, most)]
            return self.in_range(torch.cat(parts))

    def _toned(self, images: Tensor, stream: torch.Generator) -> Tensor:
        """Images in [0, 1] with the mean and deviation of the teacher's own, on average."""
        if self.factor is None or self.summand is None:
            return images
        canvas = Canvas(len(images), self.channels, self.height, self.width, stream)
        contrast, level, shift = (canvas.normal(canvas.count, 1, 1, 1) for _ in range(3))
        factor = self.factor * torch.exp(CONTRAST * contrast)
        summand = self.summand * torch.exp(LEVEL * level) + SHIFT * self.factor * shift
        return torch.sigmoid(factor * canvas.standardised(images, dim=(1, 2, 3)) + summand)

    def draw(self, count: int, stream: torch.Generator) -> Tensor:
        """(count, C, H, W) in [0, 1]."""
        first, second = self._singles(2 * count, stream).tensor_split(2)
        canvas = Canvas(count, self.channels, self.height, self.width, stream)
        blend = canvas.per_image()[:, None].expand_as(first)
        field = canvas.field(OUTLINE_SLOPE) + 0.5 * canvas.normal(count, 1, 1, 1)
        outline = torch.sigmoid(0.3 * canvas.side * field).expand_as(first)
        x, y = canvas.coordinates()
        right, down = (canvas.per_image(low=-1) for _ in range(2))
        width, height = (canvas.per_image(low=0.2) for _ in range(2))
        window = (((x - right).abs() < width) & ((y - down).abs() < height))[:, None].float().expand_as(first)
        kind = canvas.per_image()[:, None]
        share = torch.where(kind < 1 / 3, blend, torch.where(kind < 2 / 3, outline, window))
        return torch.where(canvas.per_image()[:, None] < COMBINED, torch.lerp(second, first, share), first)

    def _singles(self, count: int, stream: torch.Generator) -> Tensor:
        """(count, C, H, W) in [0, 1], each of one family."""
        shares = torch.tensor([share for _, share in self.families], device=stream.device)
        chosen_B = torch.multinomial(shares, count, replacement=True, generator=stream)
        images = torch.empty(count, self.channels, self.height, self.width, device=stream.device)
        for number, (family, _) in enumerate(self.families):
            rows = (chosen_B == number).nonzero().flatten()
            if len(rows) > 0:
                images[rows] = family(Canvas(len(rows), self.channels, self.height, self.width, stream))
        return images
