"""Dead leaves: shapes of all sizes that cover each other, plain, shaded or textured.

After the model of natural images of the same name (Ruderman 1997; Lee, Mumford and Huang 2001): radii with
density r^-3 give its statistics of edges and occlusion at every scale.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dfad_core.networks.drawings.canvas import Canvas

MOST = 48
"""Shapes of an image, at most."""
LEAST = 4
SMALLEST, LARGEST = (0.06, 0.31), 1.0
"""Radii, in halves of the shorter side: the smallest is drawn for each image."""


def leaves(canvas: Canvas) -> Tensor:
    """(B, C, H, W) in [0, 1]."""
    count = canvas.count
    x, y = canvas.coordinates()
    colours = canvas.palette(MOST + 1)
    images = colours[:, 0].expand(count, canvas.channels, canvas.height, canvas.width).clone()
    smallest = canvas.per_image(low=SMALLEST[0], high=SMALLEST[1])
    shapes = canvas.integers(LEAST, MOST + 1, count, 1, 1)
    sharpness = canvas.side * canvas.per_image(low=0.5, high=1.5)
    reach_x, reach_y = 1.2 * canvas.width / canvas.side, 1.2 * canvas.height / canvas.side
    for number in range(MOST):
        # u uniform in r^-2 gives radii the density r^-3.
        radius = torch.lerp(smallest**-2, torch.full_like(smallest, LARGEST**-2), canvas.per_image()) ** -0.5
        aspect = torch.exp(0.5 * canvas.normal(count, 1, 1))
        angle = canvas.per_image(high=2 * math.pi)
        dx = x - canvas.per_image(low=-reach_x, high=reach_x)
        dy = y - canvas.per_image(low=-reach_y, high=reach_y)
        along = (angle.cos() * dx + angle.sin() * dy) / (radius * aspect)
        across = (angle.cos() * dy - angle.sin() * dx) / (radius / aspect)
        distance = _distance(canvas, along, across, angle)
        cover = torch.sigmoid((1 - distance) * radius * sharpness) * (number >= MOST - shapes)
        shading = 0.15 * canvas.normal(count, canvas.channels, 1, 1) * along[:, None].clamp(-1.5, 1.5)
        images += cover[:, None] * (colours[:, number + 1] + shading - images)
    slope = canvas.per_image(low=0.5, high=3.5)
    texture = canvas.field(slope) * canvas.per_image(high=0.12)[:, None]
    return (images + texture).clamp(0, 1)


def _distance(canvas: Canvas, along: Tensor, across: Tensor, angle: Tensor) -> Tensor:
    """Distance of each pixel from the centre of one of six shapes, 1 on its outline, (B, H, W)."""
    circle = (along.square() + across.square()).sqrt()
    triangle = 1.6 * torch.stack([across, 0.866 * along - 0.5 * across, -0.866 * along - 0.5 * across]).amax(
        0
    )
    lobes = canvas.integers(2, 7, canvas.count, 1, 1)
    star = circle / (1 + 0.35 * torch.sin(torch.atan2(across, along) * lobes + angle))
    shapes = [
        circle,
        torch.maximum(along.abs(), across.abs()),
        triangle,
        star,
        (circle - 0.7).abs() / 0.3,
        (along**4 + across**4) ** 0.25,
    ]
    kind = canvas.integers(0, len(shapes), canvas.count, 1, 1)
    distance = shapes[0]
    for number, shape in enumerate(shapes[1:], start=1):
        distance = torch.where(kind == number, shape, distance)
    return distance
