"""Range of the pixel values in the teacher's input space. Every image source stays within it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

WHITE_LEVELS = (1.0, 16.0, 255.0, 4095.0, 65535.0)
"""Usual white levels: of fractions, and of pixels with 4 bits (16 levels above black), 8, 12 and 16 bits."""

POSSIBLE_SPREAD = (0.05, 0.49)
"""Least and largest deviation of a data set, as shares of white. Images of one half black and one half white
have 0.5."""
LARGEST_SPREAD = 0.9
"""Largest deviation that `sigmoid_coefficients` aims at, as a share of the largest possible one."""
BISECTIONS = 40
SOURCES = {
    "given": "its preprocessing's mean and std say so",
    "graph": "its own first operators normalise them so",
    "batch_norm": "its first batch norm has such statistics stored",
    "behaviour": "it tells classes best apart there",
    "assumed": "nothing says otherwise",
}
"""Sources of a range, each with its reason as a part of a sentence."""


@dataclass(frozen=True)
class PixelRange:
    """Range and statistics of images in the teacher's input space, one value a channel.

    `source` is one of `SOURCES`: `given` in the config, read from the network's own `graph`, estimated from
    the first `batch_norm`, chosen by the network's `behaviour`, or `assumed`.
    """

    mean: tuple[float, ...]
    """Mean of images: exact, estimated or assumed; `std` likewise."""
    std: tuple[float, ...]
    low: tuple[float, ...] | None = None
    """Black; None where the range is unknown, and images are then bound by `mean` and `std` alone."""
    high: tuple[float, ...] | None = None
    """White."""
    source: str = "assumed"
    statistics: bool = True
    """Whether `mean` and `std` are those of images, not just the middle of a range."""

    @property
    def bounds(self) -> tuple[Tensor, Tensor] | None:
        """Black and white, each (C, 1, 1); None where the range is unknown."""
        if self.low is None or self.high is None:
            return None
        return per_channel(self.low), per_channel(self.high)

    @property
    def usual(self) -> bool:
        """Whether the range is the default: mean 0, deviation 1, no bounds."""
        return self.bounds is None and set(self.mean) == {0.0} and set(self.std) == {1.0}

    @property
    def brightness(self) -> float:
        """Position of the mean between black (0) and white (1), over all channels; 0.5 without a range."""
        if self.bounds is None:
            return 0.5
        low, high = self.bounds
        return float(((per_channel(self.mean) - low) / (high - low)).mean())

    def place(self, standardised_BCHW: Tensor) -> Tensor:
        """Images of mean 0 and deviation 1, scaled to this mean and deviation and clamped to the bounds."""
        device = standardised_BCHW.device
        images_BCHW = standardised_BCHW * per_channel(self.std).to(device) + per_channel(self.mean).to(device)
        if self.bounds is None:
            return images_BCHW
        return torch.clamp(images_BCHW, *(bound.to(device) for bound in self.bounds))

    def event_data(self) -> dict[str, Any]:
        """Data of the event that reports the range: its source, its figures and a sentence for the user."""
        names = ("low", "high", "mean", "std") if self.bounds is not None else ("mean", "std")
        figures = {name: [float(f"{value:.4g}") for value in getattr(self, name)] for name in names}
        if self.bounds is None:
            description = f"with mean {figures['mean']} and deviation {figures['std']}"
        else:
            description = f"with pixels from {figures['low']} to {figures['high']}"
        message = f"The teacher's images are taken as images {description}: {SOURCES[self.source]}."
        return {"source": self.source, **figures, "message": message}


def standardised(channels: int, source: str = "assumed") -> PixelRange:
    """Range with mean 0 and deviation 1 in each channel: the result of a data set's usual normalisation."""
    return PixelRange((0.0,) * channels, (1.0,) * channels, source=source)


def preprocessed_range(mean: Sequence[float], std: Sequence[float], source: str) -> PixelRange | None:
    """Range of (pixel - mean) / std, where pixels lie between 0 and `white_level`.

    If no mean is 0 and every `std` lies within `POSSIBLE_SPREAD`, both are a data set's statistics, and
    images have mean 0 and deviation 1. Otherwise the preprocessing is a convention, such as 0.5 and 0.5 or a
    divisor alone; it gives the range but no statistics. None where a mean is negative: pixels then do not
    begin at 0.
    """
    if min(mean) < 0:
        return None
    white = white_level(mean, std)
    low = tuple(-m / s for m, s in zip(mean, std, strict=True))
    high = tuple((white - m) / s for m, s in zip(mean, std, strict=True))
    least, most = POSSIBLE_SPREAD
    if min(mean) > 0 and all(least <= s / white <= most for s in std):
        return PixelRange((0.0,) * len(low), (1.0,) * len(low), low, high, source)
    middle = uniform_range(low, high, source)
    if min(mean) == 0:
        return middle
    return dataclasses.replace(middle, mean=(0.0,) * len(low))


def uniform_range(low: Sequence[float], high: Sequence[float], source: str) -> PixelRange:
    """Range without statistics: the mean is set to its middle, the deviation to a quarter of its width."""
    mean = tuple((a + b) / 2 for a, b in zip(low, high, strict=True))
    std = tuple((b - a) / 4 for a, b in zip(low, high, strict=True))
    return PixelRange(mean, std, tuple(low), tuple(high), source, statistics=False)


def white_level(mean: Sequence[float], std: Sequence[float]) -> float:
    """Largest pixel value, derived from the `mean` (0 or more) and `std` of the preprocessing.

    1 where both fit into [0, 1]. Otherwise the first of `WHITE_LEVELS` that is not below the least possible
    white w. Images of black and white pixels alone have the least: with a share p of white pixels,
    m = p w and s^2 = p (1 - p) w^2, so w = m + s^2 / m. With a mean of 0 the deviation is a plain divisor,
    and white is that divisor.
    """
    if max(mean) <= 1 and max(std) <= (0.5 if min(mean) > 0 else 1.0):
        return 1.0
    least = max(m + s * s / m if m > 0 else s for m, s in zip(mean, std, strict=True))
    return next((white for white in WHITE_LEVELS if least <= white * 1.01), least)


def sigmoid_coefficients(pixels: PixelRange) -> tuple[Tensor, Tensor]:
    """Factor and summand, each (C, 1, 1), that give a sigmoid the mean and deviation of `pixels`.

    With n ~ N(0, 1), sigmoid(factor * n + summand), scaled to black and white, has that mean and deviation in
    each channel. Both are found by bisection over a grid of n. The deviation is limited to `LARGEST_SPREAD`
    of the largest possible one, because the sigmoid loses its gradients beyond.
    """
    assert pixels.bounds is not None
    low, width = pixels.bounds[0].double(), (pixels.bounds[1] - pixels.bounds[0]).double()
    target_mean = ((per_channel(pixels.mean) - low) / width).clamp(0.02, 0.98)
    largest = LARGEST_SPREAD * (target_mean * (1 - target_mean)).sqrt()
    target_std = torch.minimum(per_channel(pixels.std) / width, largest).clamp_min(0.02)
    n = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    weights = torch.softmax(-n.square() / 2, 0)

    def summand_for(factor: Tensor) -> tuple[Tensor, Tensor]:
        """The summand that gives the mean, and the resulting deviation."""
        below, above = torch.full_like(factor, -100.0), torch.full_like(factor, 100.0)
        for _ in range(BISECTIONS):
            middle = (below + above) / 2
            mean = (weights * torch.sigmoid(factor * n + middle)).sum(-1, keepdim=True)
            below, above = (
                torch.where(mean < target_mean, middle, below),
                torch.where(mean < target_mean, above, middle),
            )
        values = torch.sigmoid(factor * n + middle)
        return middle, (weights * (values - target_mean).square()).sum(-1, keepdim=True).sqrt()

    below, above = torch.full_like(target_mean, 0.01), torch.full_like(target_mean, 20.0)
    for _ in range(BISECTIONS):
        factor = (below + above) / 2
        summand, std = summand_for(factor)
        below, above = (
            torch.where(std < target_std, factor, below),
            torch.where(std < target_std, above, factor),
        )
    return factor.float(), summand.float()


def per_channel(values: Sequence[float]) -> Tensor:
    """Values of the channels (C) as a float32 tensor (C, 1, 1)."""
    return torch.tensor(tuple(values), dtype=torch.float32).reshape(-1, 1, 1)
