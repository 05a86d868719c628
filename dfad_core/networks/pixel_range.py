"""Which values pixels may have in the teacher's input space: what every source of images keeps to."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

WHITE_LEVELS = (1.0, 16.0, 255.0, 4095.0, 65535.0)
"""White of pixels as fractions, and of 4 (with 16 levels above black), 8, 12 and 16 bits."""

POSSIBLE_SPREAD = (0.05, 0.49)
"""Deviations of a data set, as shares of white: 0.5 has one of black and white halves alone."""
LARGEST_SPREAD = 0.9
BISECTIONS = 40
SOURCES = {
    "given": "its preprocessing's mean and std say so",
    "graph": "its own first operators normalise them so",
    "batch_norm": "its first batch norm has such statistics stored",
    "behaviour": "it tells classes best apart there",
    "assumed": "nothing says otherwise",
}
"""Of a range, each with its reason."""


@dataclass(frozen=True)
class PixelRange:
    """Range and statistics of images in the teacher's input space, one value a channel.

    `source` is one of `SOURCES`: `given` in the config, read from the network's own `graph`, estimated from
    the first `batch_norm`, chosen by the network's `behaviour`, or `assumed`.
    """

    mean: tuple[float, ...]
    """Of images: exact, estimated or assumed."""
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
        """Black and white, each (C, 1, 1); None where they are not known."""
        if self.low is None or self.high is None:
            return None
        return per_channel(self.low), per_channel(self.high)

    @property
    def usual(self) -> bool:
        """Whether images have mean 0 and deviation 1 and no other bound, as without any knowledge."""
        return self.bounds is None and set(self.mean) == {0.0} and set(self.std) == {1.0}

    @property
    def brightness(self) -> float:
        """Place of the mean between black (0) and white (1), over all channels; 0.5 without a range."""
        if self.bounds is None:
            return 0.5
        low, high = self.bounds
        return float(((per_channel(self.mean) - low) / (high - low)).mean())

    def place(self, standardised_BCHW: Tensor) -> Tensor:
        """Images of mean 0 and deviation 1 with this mean and deviation, and none beyond black and white."""
        device = standardised_BCHW.device
        images_BCHW = standardised_BCHW * per_channel(self.std).to(device) + per_channel(self.mean).to(device)
        if self.bounds is None:
            return images_BCHW
        return torch.clamp(images_BCHW, *(bound.to(device) for bound in self.bounds))

    def about(self) -> dict[str, Any]:
        """For an event: where the range comes from, its figures, and a sentence for the user."""
        names = ("low", "high", "mean", "std") if self.bounds is not None else ("mean", "std")
        figures = {name: [float(f"{value:.4g}") for value in getattr(self, name)] for name in names}
        if self.bounds is None:
            what = f"with mean {figures['mean']} and deviation {figures['std']}"
        else:
            what = f"with pixels from {figures['low']} to {figures['high']}"
        message = f"The teacher's images are taken as images {what}: {SOURCES[self.source]}."
        return {"source": self.source, **figures, "message": message}


def standardised(channels: int, source: str = "assumed") -> PixelRange:
    """Mean 0 and deviation 1 in each channel, as preprocessing by a data set's own statistics makes them."""
    return PixelRange((0.0,) * channels, (1.0,) * channels, source=source)


def preprocessed_range(mean: Sequence[float], std: Sequence[float], source: str) -> PixelRange | None:
    """The range of (pixel - mean) / std, where pixels lie between 0 and `white_level`.

    Images have mean 0 and deviation 1 there if no mean is 0 and `std` can be a data set's, by
    `POSSIBLE_SPREAD`.
    Otherwise the preprocessing is a convention, such as 0.5 and 0.5 or a divisor alone, which gives the
    range and leaves the statistics open. None where a mean is negative, for then pixels do not begin at 0.
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
    """A range of which no more is known: the mean in its middle, the deviation a quarter of its width."""
    mean = tuple((a + b) / 2 for a, b in zip(low, high, strict=True))
    std = tuple((b - a) / 4 for a, b in zip(low, high, strict=True))
    return PixelRange(mean, std, tuple(low), tuple(high), source, statistics=False)


def white_level(mean: Sequence[float], std: Sequence[float]) -> float:
    """The largest value of pixels of which preprocessing subtracts `mean` (0 or more), divides by `std`.

    1 where both fit into [0, 1]. Otherwise the first usual white that is not below that of images of black
    and white alone, for which mean m and deviation s leave no choice: with a share p of white w, m = p w
    and s^2 = p (1 - p) w^2, so w = m + s^2 / m. Other images reach further, none less far. With a mean of 0
    the deviation is a divisor alone: white is what it makes 1 of.
    """
    if max(mean) <= 1 and max(std) <= (0.5 if min(mean) > 0 else 1.0):
        return 1.0
    least = max(m + s * s / m if m > 0 else s for m, s in zip(mean, std, strict=True))
    return next((white for white in WHITE_LEVELS if least <= white * 1.01), least)


def sigmoid_coefficients(pixels: PixelRange) -> tuple[Tensor, Tensor]:
    """Factor and summand, each (C, 1, 1), by which sigmoid(factor * n + summand), n ~ N(0, 1), placed between
    black and white has the mean and the deviation of `pixels`, one channel at a time.

    By bisection over both, on a grid of n. A deviation near the largest possible one, that of black and white
    pixels alone, is lowered to `LARGEST_SPREAD` of it, where the sigmoid still has gradients.
    """
    assert pixels.bounds is not None
    low, width = pixels.bounds[0].double(), (pixels.bounds[1] - pixels.bounds[0]).double()
    wanted_mean = ((per_channel(pixels.mean) - low) / width).clamp(0.02, 0.98)
    largest = LARGEST_SPREAD * (wanted_mean * (1 - wanted_mean)).sqrt()
    wanted_std = torch.minimum(per_channel(pixels.std) / width, largest).clamp_min(0.02)
    n = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    weights = torch.softmax(-n.square() / 2, 0)

    def summand_for(factor: Tensor) -> tuple[Tensor, Tensor]:
        """The summand that gives the mean, and the deviation that comes of it."""
        below, above = torch.full_like(factor, -100.0), torch.full_like(factor, 100.0)
        for _ in range(BISECTIONS):
            middle = (below + above) / 2
            mean = (weights * torch.sigmoid(factor * n + middle)).sum(-1, keepdim=True)
            below, above = (
                torch.where(mean < wanted_mean, middle, below),
                torch.where(mean < wanted_mean, above, middle),
            )
        values = torch.sigmoid(factor * n + middle)
        return middle, (weights * (values - wanted_mean).square()).sum(-1, keepdim=True).sqrt()

    below, above = torch.full_like(wanted_mean, 0.01), torch.full_like(wanted_mean, 20.0)
    for _ in range(BISECTIONS):
        factor = (below + above) / 2
        summand, std = summand_for(factor)
        below, above = (
            torch.where(std < wanted_std, factor, below),
            torch.where(std < wanted_std, above, factor),
        )
    return factor.float(), summand.float()


def per_channel(values: Sequence[float]) -> Tensor:
    """(C,) as (C, 1, 1), float32."""
    return torch.tensor(tuple(values), dtype=torch.float32).reshape(-1, 1, 1)
