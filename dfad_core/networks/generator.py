"""The generator: noise to images in the teacher's input space."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfad_core.networks.pixel_range import PixelRange, per_channel, sigmoid_coefficients, standardised
from dfad_core.networks.upsample_conv import upsample_conv

LEAK = 0.2
MAX_START_SIDE = 16


class Generator(nn.Module):
    """DFAD's generator (Fang et al. 2019, arXiv 1912.11006) for any image size.

    linear -> BN -> [nearest upsampling x2 -> 3x3 conv -> BN -> LeakyReLU 0.2] twice -> 3x3 conv ->
    BN without affine part -> sigmoid between black and white of `pixels`. A fixed factor and summand before
    the sigmoid give each channel about the mean and deviation of `pixels`. Where black and white are unknown:
    tanh -> BN without affine part, scaled to mean and deviation of `pixels` (0 and 1 by default).

    Differs from the paper's code, which has the second form for every teacher. Images whose sides are not
    multiples of 4 are cropped from the next multiple, and images over 64 pixels have further upsampling
    stages of the widest width, which keeps the linear layer small. Upsampling and convolution are computed
    together (`upsample_conv`), which changes the rounding alone.

    Shapes: z (B, latent_dim) -> images (B, C, H, W). Activation and last BN are computed in float32, under an
    autocast too: in bfloat16 tanh is 1 from 3.5 on, without a gradient, and the statistics of the last BN
    decide the scale of the teacher's input.
    """

    factor: Tensor
    summand: Tensor
    offset: Tensor
    scale: Tensor

    def __init__(
        self,
        latent_dim: int,
        width: int,
        shape: tuple[int, int, int],
        pixels: PixelRange | None = None,
    ) -> None:
        super().__init__()
        channels, self.height, self.width = shape
        stages = 2
        while max(self.height, self.width) > MAX_START_SIDE * 2**stages:
            stages += 1
        scale = 2**stages
        self.start = (-(-self.height // scale), -(-self.width // scale))
        widest = 2 * width
        self.linear = nn.Linear(latent_dim, widest * self.start[0] * self.start[1])
        self.norm = nn.BatchNorm2d(widest)
        widths = [widest] * stages + [width]
        self.convs = nn.ModuleList(nn.Conv2d(i, o, 3, padding=1) for i, o in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm2d(o) for o in widths[1:])
        self.to_image = nn.Conv2d(width, channels, 3, padding=1)
        self.image_norm = nn.BatchNorm2d(channels, affine=False)
        pixels = pixels or standardised(channels)
        self.bounded = pixels.bounds is not None
        offset, scale = per_channel(pixels.mean), per_channel(pixels.std)
        if pixels.bounds is not None:
            offset, scale = pixels.bounds[0], pixels.bounds[1] - pixels.bounds[0]
            factor, summand = sigmoid_coefficients(pixels)
            self._hold("factor", factor)
            self._hold("summand", summand)
        self._hold("offset", offset)
        self._hold("scale", scale)

    def _hold(self, name: str, values_C11: Tensor) -> None:
        """Register a constant that moves with the module and is not part of its state."""
        self.register_buffer(name, values_C11, persistent=False)

    def forward(self, z_BZ: Tensor) -> Tensor:
        """One image for each row of `z_BZ`."""
        x = self.linear(z_BZ).unflatten(1, (-1, *self.start))
        x = self.norm(x.contiguous(memory_format=torch.channels_last))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            assert isinstance(conv, nn.Conv2d)
            x = F.leaky_relu(norm(upsample_conv(x, conv.weight, conv.bias)), LEAK, inplace=True)
        x = self.to_image(x)[:, :, : self.height, : self.width].float()
        if self.bounded:
            x = torch.sigmoid(self.image_norm(x) * self.factor + self.summand)
        else:
            x = self.image_norm(torch.tanh(x))
        images: Tensor = x * self.scale + self.offset
        return images
