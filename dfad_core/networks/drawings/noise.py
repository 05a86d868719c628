"""z itself as an image."""

from __future__ import annotations

import math

from torch import Tensor, nn

from dfad_core.networks.pixel_range import PixelRange, per_channel, standardised


class NoiseImages(nn.Module):
    """z as an image: independent normal pixels with the images' mean and deviation, N(0, 1) by default."""

    def __init__(self, shape: tuple[int, int, int], pixels: PixelRange | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.latent_dim = math.prod(shape)
        pixels = pixels or standardised(shape[0])
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", per_channel(pixels.mean), persistent=False)
        self.register_buffer("std", per_channel(pixels.std), persistent=False)

    def forward(self, z_BZ: Tensor) -> Tensor:
        """(B, C * H * W) -> (B, C, H, W), float32."""
        return z_BZ.float().reshape(-1, *self.shape) * self.std + self.mean
