"""Gratings and blobs: procedural images for evaluation alone, never for training."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def procedural(count: int, shape: tuple[int, int, int], stream: torch.Generator) -> Tensor:
    """Images of oriented gratings times soft blobs, each of mean 0 and deviation 1: (N, C, H, W)."""
    channels, height, width = shape
    device = stream.device

    def uniform(low: float, high: float, *sizes: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *sizes, 1, 1, generator=stream, device=device)

    y = torch.linspace(-1, 1, height, device=device).reshape(1, 1, height, 1)
    x = torch.linspace(-1, 1, width, device=device).reshape(1, 1, 1, width)
    angle, waves, shift = uniform(0, math.pi, 1), uniform(0.5, 4, 1), uniform(0, 2 * math.pi, channels)
    across = x * angle.cos() + y * angle.sin()
    grating = (math.pi * waves * across + shift).sin()
    blob = torch.zeros(count, 1, height, width, device=device)
    for _ in range(3):
        distance = (x - uniform(-0.8, 0.8, 1)) ** 2 + (y - uniform(-0.8, 0.8, 1)) ** 2
        blob = blob + uniform(-1, 1, 1) * (-distance / uniform(0.02, 0.4, 1)).exp()
    share = uniform(0, 1, 1)
    images = share * grating + (1 - share) * 2 * blob
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    std = images.std(dim=(1, 2, 3), keepdim=True).clamp_min(1e-3)
    return (images - mean) / std
