"""Images of all families, each alone or two in one: blended, or one cut into the other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import torch
from torch import Tensor

from dfad_core.networks.drawings.canvas import Canvas
from dfad_core.networks.drawings.contours import contours
from dfad_core.networks.drawings.drawn import DrawnImages
from dfad_core.networks.drawings.leaves import leaves
from dfad_core.networks.drawings.random_networks import random_networks
from dfad_core.networks.drawings.shaders import shaders
from dfad_core.networks.drawings.spectra import spectra

Family = Callable[[Canvas], Tensor]

FAMILIES: tuple[tuple[Family, float], ...] = (
    (leaves, 3.0),
    (spectra, 1.0),
    (shaders, 2.0),
    (random_networks, 2.0),
    (contours, 1.0),
)
"""Each family with its share of the images, relative to the others."""
COMBINED = 0.5
"""Share of the images that are made of two."""


class Collages(DrawnImages):
    """Images of all families. A batch follows from its z alone."""

    latent_dim = 1

    @torch.no_grad()
    def forward(self, z_B1: Tensor) -> Tensor:
        """(B, 1) -> (B, C, H, W), float32, without a graph. The same z gives the same batch."""
        digest = hashlib.sha256(z_B1.detach().float().cpu().numpy().tobytes()).digest()
        stream = torch.Generator(z_B1.device).manual_seed(int.from_bytes(digest[:7], "big"))
        with torch.autocast(z_B1.device.type, enabled=False):
            return self.in_range(self.draw(len(z_B1), stream))

    def draw(self, count: int, stream: torch.Generator) -> Tensor:
        """(count, C, H, W) in [0, 1]."""
        first, second = self._singles(2 * count, stream).tensor_split(2)
        canvas = Canvas(count, self.channels, self.height, self.width, stream)
        blend = canvas.per_image()[:, None].expand_as(first)
        field = canvas.field(canvas.per_image(low=2.5, high=2.5)) + 0.5 * canvas.normal(count, 1, 1, 1)
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
        shares = torch.tensor([share for _, share in FAMILIES], device=stream.device)
        chosen_B = torch.multinomial(shares, count, replacement=True, generator=stream)
        images = torch.empty(count, self.channels, self.height, self.width, device=stream.device)
        for number, (family, _) in enumerate(FAMILIES):
            rows = (chosen_B == number).nonzero().flatten()
            if len(rows) > 0:
                images[rows] = family(Canvas(len(rows), self.channels, self.height, self.width, stream))
        return images
