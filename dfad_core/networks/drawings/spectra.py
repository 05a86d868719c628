"""Coloured noise whose amplitude falls with a power of the frequency, as that of natural images does."""

from __future__ import annotations

import torch
from torch import Tensor

from dfad_core.networks.drawings.canvas import Canvas


def spectra(canvas: Canvas) -> Tensor:
    """(B, C, H, W) in [0, 1]: slopes from 0.5 (nearly white) to 3.5 (clouds), often of one direction."""
    slope = canvas.per_image(low=0.5, high=3.5)
    stretch = torch.exp(0.4 * canvas.normal(canvas.count, 1, 1))
    return canvas.coloured(canvas.field(slope, canvas.channels, stretch))
