"""Small random networks from a pixel's place to its colour, as compositional pattern-producing networks.

After Stanley 2007, and the random shaders of Baradad et al. 2022 (arXiv 2211.16412) in spirit.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dfad_core.networks.drawings.canvas import Canvas

WIDTH, LAYERS = 24, 3
HIGHEST = 25.0
"""Largest frequency of the waves, in radians over half of the shorter side."""


def shaders(canvas: Canvas) -> Tensor:
    """(B, C, H, W) in [0, 1]."""
    count = canvas.count
    x, y = canvas.coordinates()
    angle = canvas.per_image(high=2 * math.pi)
    scale = torch.exp(0.4 * canvas.normal(count, 1, 1))
    right, down = 0.4 * canvas.normal(count, 1, 1), 0.4 * canvas.normal(count, 1, 1)
    u = (x * angle.cos() + y * angle.sin()) * scale + right
    v = (y * angle.cos() - x * angle.sin()) * scale + down
    radius = (u.square() + v.square()).sqrt()
    wave = torch.exp(canvas.per_image(high=math.log(min(HIGHEST, canvas.side))))
    bent_u, bent_v = u + 0.3 * torch.sin(v * wave / 2 + angle), v + 0.3 * torch.sin(u * wave / 2)
    features = torch.stack(
        [u, v, radius, torch.sin(wave * u), torch.sin(wave * radius), torch.sin(wave * bent_u),
         torch.cos(wave * bent_v), u * v], dim=1,
    ).flatten(2)  # fmt: skip
    for _ in range(LAYERS):
        inputs = features.shape[1]
        weights = canvas.normal(count, WIDTH, inputs) * (1.6 / math.sqrt(inputs))
        features = weights @ features + 0.6 * canvas.normal(count, WIDTH, 1)
        kind = canvas.per_image()
        features = torch.where(
            kind < 0.4,
            torch.tanh(features),
            torch.where(kind < 0.8, torch.sin(1.5 * features), F.relu(features)),
        )
    weights = canvas.normal(count, canvas.channels, WIDTH) / math.sqrt(WIDTH)
    values = (weights @ features).reshape(count, canvas.channels, canvas.height, canvas.width)
    return canvas.coloured(canvas.standardised(values, dim=(2, 3)))
