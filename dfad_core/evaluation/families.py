"""Families of drawings for the judge alone: no method trains on them.

Strokes, cells, plaids, weaves and fractals: of other construction than the leaves, spectra, shaders, random
networks, contours and level sets that train. Each function draws (B, C, H, W) in [0, 1]; B images, P strokes,
points or maps of one.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dfad_core.networks.drawings.canvas import Canvas

MOST_STROKES = 7
CELLS = (4, 40)
"""Least and largest number of cells of an image."""
GRATINGS = 4
MAPS = 4
POINTS, ITERATIONS, SETTLING = 256, 24, 6
"""Of a fractal: points that move at a time, moves, and first moves that are not drawn."""


def strokes(canvas: Canvas) -> Tensor:
    """Straight and bent pen strokes, some joined end to end as in writing, on a plain or shaded ground."""
    x, y = canvas.coordinates()
    count = canvas.integers(1, MOST_STROKES + 1, canvas.count, 1, 1)
    width = canvas.per_image(low=0.05, high=0.22).clamp_min(1.2 / canvas.side)
    joined = canvas.per_image() < 0.6
    spread = canvas.per_image(low=0.4, high=0.9)
    ink = torch.zeros(canvas.count, canvas.height, canvas.width, device=canvas.device)
    end_x, end_y = (spread * canvas.per_image(low=-1) for _ in range(2))
    for number in range(MOST_STROKES):
        begin_x, begin_y = (
            torch.where(joined, end, spread * canvas.per_image(low=-1)) for end in (end_x, end_y)
        )
        end_x, end_y = (spread * canvas.per_image(low=-1) for _ in range(2))
        dx, dy = end_x - begin_x, end_y - begin_y
        length = (dx.square() + dy.square()).sqrt().clamp_min(1e-3)
        along = ((x - begin_x) * dx + (y - begin_y) * dy) / length.square()
        # A parabola through both ends: the pen leaves the straight line by `bend` in the middle.
        bend = 0.8 * canvas.normal(canvas.count, 1, 1) * (canvas.per_image() < 0.6)
        clamped = along.clamp(0, 1)
        near_x = begin_x + clamped * dx - dy * bend * clamped * (1 - clamped)
        near_y = begin_y + clamped * dy + dx * bend * clamped * (1 - clamped)
        distance = ((x - near_x).square() + (y - near_y).square()).sqrt()
        mark = torch.sigmoid((width - distance) * 1.5 * canvas.side / 2) * (number < count)
        ink = torch.maximum(ink, mark)
    ground, pen = canvas.palette(2).unbind(1)
    plain = canvas.per_image()[:, None] < 0.5
    ground = torch.where(plain, 0.15 * ground, ground)
    pen = torch.where(plain, 1 - 0.3 * pen, pen)
    swap = canvas.per_image()[:, None] < 0.2
    ground, pen = torch.where(swap, 1 - ground, ground), torch.where(swap, 1 - pen, pen)
    return (ground + ink[:, None] * (pen - ground)).clamp(0, 1)


def cells(canvas: Canvas) -> Tensor:
    """Voronoi cells: each of a colour, or light that falls from the centres, with or without dark cracks."""
    x, y = canvas.coordinates()
    most = CELLS[1]
    number = torch.exp(canvas.per_image(low=math.log(CELLS[0]), high=math.log(most)))
    reach_x, reach_y = canvas.width / canvas.side, canvas.height / canvas.side
    centre_x = canvas.uniform(canvas.count, most, 1, 1, low=-1.1 * reach_x, high=1.1 * reach_x)
    centre_y = canvas.uniform(canvas.count, most, 1, 1, low=-1.1 * reach_y, high=1.1 * reach_y)
    aspect = torch.exp(0.4 * canvas.normal(canvas.count, 1, 1, 1))
    gap_x, gap_y = (x - centre_x).abs() * aspect, (y - centre_y).abs() / aspect
    round_cells = (gap_x.square() + gap_y.square()).sqrt()
    distance = torch.where(canvas.per_image()[:, None] < 0.7, round_cells, gap_x + gap_y)
    unused = torch.arange(most, device=canvas.device)[None, :, None, None] >= number[:, None]
    nearest, which = distance.masked_fill(unused, math.inf).topk(2, dim=1, largest=False)
    colours = canvas.palette(most)[..., 0, 0]  # (B, P, C)
    flat = which[:, 0].flatten(1)[..., None].expand(-1, -1, canvas.channels)
    image = colours.gather(1, flat).transpose(1, 2).reshape(-1, canvas.channels, canvas.height, canvas.width)
    shade = 1 - 0.8 * canvas.per_image()[:, None] * nearest[:, :1] / nearest[:, :1].amax((2, 3), keepdim=True)
    crack = torch.sigmoid(
        (nearest[:, 1:] - nearest[:, :1] - canvas.per_image(low=0.02, high=0.2)[:, None]) * canvas.side
    )
    crack = torch.where(canvas.per_image()[:, None] < 0.6, crack, torch.ones_like(crack))
    return (image * shade * crack).clamp(0, 1)


def plaids(canvas: Canvas) -> Tensor:
    """Sums or products of gratings, warped by a smooth field, under a window."""
    x, y = canvas.coordinates()
    bend = canvas.per_image(high=0.5)
    field = canvas.field(3.0, 2) * bend[:, None]
    u, v = x + field[:, 0], y + field[:, 1]
    total = torch.zeros(canvas.count, canvas.channels, canvas.height, canvas.width, device=canvas.device)
    product = torch.ones_like(total)
    highest = math.log(0.35 * canvas.side)
    for _ in range(GRATINGS):
        angle = canvas.per_image(high=math.pi)
        waves = torch.exp(canvas.per_image(low=-0.7, high=max(0.0, highest)))
        phase = canvas.per_image(high=2 * math.pi)[:, None] + 0.5 * canvas.normal(
            canvas.count, canvas.channels, 1, 1
        )
        wave = torch.sin(math.pi * (waves * (u * angle.cos() + v * angle.sin()))[:, None] + phase)
        square = torch.tanh(wave * torch.exp(2 * canvas.normal(canvas.count, 1, 1, 1).clamp(-1, 1)))
        used = canvas.per_image()[:, None] < 0.6
        total = total + torch.where(used, square, torch.zeros_like(square))
        product = product * torch.where(used, square, torch.ones_like(square))
    values = torch.where(canvas.per_image()[:, None] < 0.5, total, product)
    right, down = (canvas.per_image(low=-0.5, high=0.5) for _ in range(2))
    distance = (x - right).square() + (y - down).square()
    window = torch.exp(-distance / canvas.per_image(low=0.1, high=2.0))
    whole = canvas.per_image() < 0.5
    values = values * torch.where(whole, torch.ones_like(window), window)[:, None]
    return canvas.coloured(values)


def weaves(canvas: Canvas) -> Tensor:
    """Bands that pass over and under each other, in two colours, turned and of random width."""
    x, y = canvas.coordinates()
    angle = canvas.per_image(high=math.pi)
    bands = torch.exp(canvas.per_image(low=0.0, high=max(0.5, math.log(canvas.side / 5))))
    u = (x * angle.cos() + y * angle.sin()) * bands + canvas.per_image(low=-1)
    v = (y * angle.cos() - x * angle.sin()) * bands * torch.exp(0.3 * canvas.normal(canvas.count, 1, 1))
    v = v + canvas.per_image(low=-1)
    over = (u.floor() + v.floor() * canvas.integers(1, 3, canvas.count, 1, 1)).remainder(2) < 1
    share = canvas.per_image(low=0.5, high=1.0)
    across_u, across_v = (2 * (side - side.floor()) - 1 for side in (u, v))
    edge = canvas.side / (4 * bands)
    bump_u, bump_v = (torch.sigmoid((share - across.abs()) * edge) for across in (across_u, across_v))
    round_u, round_v = ((1 - 0.7 * across.square()).clamp_min(0) for across in (across_u, across_v))
    warp, weft, ground = canvas.palette(3).unbind(1)
    first, second = (bump_u * round_u)[:, None] * warp, (bump_v * round_v)[:, None] * weft
    cover_u, cover_v = bump_u[:, None], bump_v[:, None]
    top_first = ground * (1 - cover_v) * (1 - cover_u) + second * (1 - cover_u) + first
    top_second = ground * (1 - cover_u) * (1 - cover_v) + first * (1 - cover_v) + second
    return torch.where(over[:, None], top_first, top_second).clamp(0, 1)


def fractals(canvas: Canvas) -> Tensor:
    """Attractors of random affine maps (iterated function systems), as densities in one or two colours.

    After FractalDB (Kataoka et al. 2020, arXiv 2101.08515) in spirit.
    """
    count, size = canvas.count, (canvas.height, canvas.width)
    angle = canvas.uniform(count, MAPS, low=-math.pi, high=math.pi)
    turn = canvas.uniform(count, MAPS, low=-math.pi, high=math.pi)
    scales = canvas.uniform(count, MAPS, 2, low=0.25, high=0.85)
    rotation, other = (_rotation(a) for a in (angle, turn))
    maps = rotation * scales[..., None, :] @ other  # (B, P, 2, 2), all contractions
    shifts = canvas.uniform(count, MAPS, 2, low=-1, high=1)
    coefficients = torch.cat([maps.flatten(2), shifts], dim=2)  # (B, P, 6)
    x, y = (0.1 * canvas.normal(count, POINTS) for _ in range(2))
    rows = torch.arange(count, device=canvas.device)[:, None]
    places = []
    for step in range(ITERATIONS):
        xx, xy, yx, yy, right, down = coefficients[rows, canvas.integers(0, MAPS, count, POINTS)].unbind(2)
        x, y = xx * x + xy * y + right, yx * x + yy * y + down
        if step >= SETTLING:
            places.append(torch.stack([x, y], dim=2))
    places_BP2 = torch.cat(places, dim=1)
    middle = places_BP2.mean(1, keepdim=True)
    reach = (places_BP2 - middle).abs().amax(1, keepdim=True).clamp_min(1e-3)
    placed = 0.5 + 0.5 * (places_BP2 - middle) / reach * canvas.per_image(low=0.7, high=1.2)
    column = (placed[..., 0] * size[1]).long().clamp(0, size[1] - 1)
    row = (placed[..., 1] * size[0]).long().clamp(0, size[0] - 1)
    density = torch.zeros(count, size[0] * size[1], device=canvas.device)
    density.scatter_add_(1, row * size[1] + column, torch.ones_like(placed[..., 0]))
    density = torch.log1p(density).reshape(count, 1, *size)
    density = density / density.amax((2, 3), keepdim=True)
    ground, ink = canvas.palette(2).unbind(1)
    return (ground + density * (ink - ground)).clamp(0, 1)


def _rotation(angle_BP: Tensor) -> Tensor:
    """Matrices (B, P, 2, 2) that turn by the angles."""
    cos, sin = angle_BP.cos(), angle_BP.sin()
    return torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
