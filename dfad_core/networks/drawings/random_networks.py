"""What untrained convolutional generators make of noise on every scale.

After the random StyleGANs of Baradad et al. 2021 (arXiv 2106.05963) in spirit. One network a batch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dfad_core.networks.drawings.canvas import Canvas

CHANNELS = 16
COARSEST = 4
"""Side of the first features at most, in pixels."""


def random_networks(canvas: Canvas) -> Tensor:
    """(B, C, H, W) in [0, 1]."""
    count = canvas.count
    doublings = max(0, math.ceil(math.log2(canvas.side / COARSEST)))
    sizes = [
        (math.ceil(canvas.height / 2**n), math.ceil(canvas.width / 2**n)) for n in range(doublings, -1, -1)
    ]
    features = canvas.normal(count, CHANNELS, *sizes[0])
    for size in sizes:
        if features.shape[2:] != size:
            features = F.interpolate(features, size=size, mode="bilinear", align_corners=False)
        kernel = canvas.normal(CHANNELS, CHANNELS, 3, 3) * (1.4 / math.sqrt(9 * CHANNELS))
        features = F.conv2d(F.pad(features, (1, 1, 1, 1), mode="reflect"), kernel)
        features = features * (1 + 0.7 * canvas.normal(count, CHANNELS, 1, 1))
        features = features + 0.5 * canvas.normal(count, CHANNELS, 1, 1)
        noise = 0.5 * canvas.normal(count, 1, *size) * canvas.uniform(count, CHANNELS, 1, 1)
        features = F.leaky_relu(features + noise, 0.2)
        features = features / features.square().mean((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-3)
    weights = canvas.normal(count, canvas.channels, CHANNELS)
    values = torch.einsum("bdc,bchw->bdhw", weights, features)
    return canvas.coloured(canvas.standardised(values, dim=(1, 2, 3)))
