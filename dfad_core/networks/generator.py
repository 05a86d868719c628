"""The generator: noise to inputs in the teacher's normalised space."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfad_core.networks.upsample_conv import upsample_conv

LEAK = 0.2
MAX_START_SIDE = 16


class Generator(nn.Module):
    """DFAD's generator (Fang et al. 2019, arXiv 1912.11006) for any image size.

    linear -> BN -> [nearest upsampling x2 -> 3x3 conv -> BN -> LeakyReLU 0.2] twice -> 3x3 conv ->
    tanh -> BN without affine part, so that images have zero mean and unit variance in each channel.

    Differs from the paper's code: images of other sides than multiples of 4 are cropped from the
    next multiple, and images over 64 pixels get further upsampling stages of the widest width,
    which keeps the linear layer small. Upsampling and convolution are computed together
    (`upsample_conv`), which changes the rounding alone.

    Shapes: z (B, latent_dim) -> images (B, C, H, W), float32 whatever the autocast, because the
    statistics of the last BN decide the scale of everything the teacher sees.
    """

    def __init__(self, latent_dim: int, width: int, shape: tuple[int, int, int]) -> None:
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

    def forward(self, z_BZ: Tensor) -> Tensor:
        """One image for each row of `z_BZ`."""
        x = self.linear(z_BZ).unflatten(1, (-1, *self.start))
        x = self.norm(x.contiguous(memory_format=torch.channels_last))
        for conv, norm in zip(self.convs, self.norms, strict=True):
            assert isinstance(conv, nn.Conv2d)
            x = F.leaky_relu(norm(upsample_conv(x, conv.weight, conv.bias)), LEAK, inplace=True)
        x = torch.tanh(self.to_image(x)[:, :, : self.height, : self.width])
        image: Tensor = self.image_norm(x.float())
        return image
