"""From colours between black and white to the teacher's range of pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfad_core.networks.pixel_range import PixelRange, per_channel, standardised


class DrawnImages(nn.Module):
    """Base of drawings: no parameters, images of a shape, within the range `pixels` (N(0, 1) by default).

    Images lie between black and white of `pixels`. Where these are not known, each channel of a batch has the
    mean and deviation of `pixels`.
    """

    latent_dim: int

    def __init__(self, shape: tuple[int, int, int], pixels: PixelRange | None = None) -> None:
        super().__init__()
        self.channels, self.height, self.width = shape
        self.pixels = pixels or standardised(self.channels)
        self.bounded = self.pixels.bounds is not None
        self.offset: Tensor
        self.scale: Tensor
        offset, scale = per_channel(self.pixels.mean), per_channel(self.pixels.std)
        if self.pixels.bounds is not None:
            offset, scale = self.pixels.bounds[0], self.pixels.bounds[1] - self.pixels.bounds[0]
        self.register_buffer("offset", offset, persistent=False)
        self.register_buffer("scale", scale, persistent=False)

    def in_range(self, colours_BCHW: Tensor) -> Tensor:
        """Colours between 0 (black) and 1 (white) as the teacher's pixels, float32."""
        colours_BCHW = colours_BCHW.float()
        if not self.bounded:
            colours_BCHW = F.batch_norm(colours_BCHW, None, None, training=True)
        images_BCHW: Tensor = torch.addcmul(self.offset, colours_BCHW, self.scale)
        return images_BCHW
