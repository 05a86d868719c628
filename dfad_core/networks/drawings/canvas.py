"""What the families share: random numbers of one stream, coordinates, colours and smooth random fields.

Shapes: B images, C channels, H and W sides. Colours lie between 0 (black) and 1 (white).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Canvas:
    """Number and shape of the images to draw, and the random stream that decides them."""

    count: int
    channels: int
    height: int
    width: int
    stream: torch.Generator

    @property
    def device(self) -> torch.device:
        """Where images are drawn."""
        return self.stream.device

    @property
    def side(self) -> int:
        """The shorter side, in pixels."""
        return min(self.height, self.width)

    def uniform(self, *size: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform numbers between `low` and `high`, of that shape."""
        return low + (high - low) * torch.rand(size, generator=self.stream, device=self.device)

    def normal(self, *size: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(size, generator=self.stream, device=self.device)

    def integers(self, low: int, high: int, *size: int) -> Tensor:
        """Whole numbers from `low` to `high - 1`."""
        return torch.randint(low, high, size, generator=self.stream, device=self.device)

    def per_image(self, *, low: float = 0.0, high: float = 1.0) -> Tensor:
        """One uniform number an image, (B, 1, 1)."""
        return self.uniform(self.count, 1, 1, low=low, high=high)

    def coordinates(self) -> tuple[Tensor, Tensor]:
        """x (1, W) and y (H, 1) of the pixels' centres; the shorter side runs from -1 to 1."""
        x = (torch.arange(self.width, device=self.device) + 0.5) * 2 - self.width
        y = (torch.arange(self.height, device=self.device) + 0.5) * 2 - self.height
        return (x / self.side)[None, :], (y / self.side)[:, None]

    def palette(self, colours: int) -> Tensor:
        """(B, colours, C, 1, 1): colours around one of each image's own, of a common tint or nearly grey."""
        shape = (self.count, colours, self.channels)
        base = self.uniform(self.count, 1, self.channels, low=0.1, high=0.9)
        mixing = 0.25 * self.normal(self.count, self.channels, self.channels) * (1 - self.per_image())
        light = 0.45 * self.per_image() * self.normal(self.count, colours, 1)
        return (base + self.normal(*shape) @ mixing + light).clamp(0, 1)[..., None, None]

    def field(
        self, slope_B11: Tensor | float, channels: int = 1, stretch_B11: Tensor | None = None
    ) -> Tensor:
        """Random fields of mean 0 and deviation 1, (B, channels, H, W), whose amplitude falls as f^-slope.

        `stretch` scales horizontal frequencies up and vertical ones down.
        """
        rows = torch.fft.fftfreq(self.height, device=self.device)[:, None]
        columns = torch.fft.rfftfreq(self.width, device=self.device)[None, :]
        if stretch_B11 is None:
            frequency = (rows.square() + columns.square()).sqrt().expand(self.count, -1, -1).clone()
        else:
            frequency = ((rows / stretch_B11).square() + (columns * stretch_B11).square()).sqrt()
        frequency[:, 0, 0] = 1
        noise = torch.fft.rfft2(self.normal(self.count, channels, self.height, self.width))
        noise = noise * (frequency**-slope_B11)[:, None]
        noise[..., 0, 0] = 0
        return self.standardised(torch.fft.irfft2(noise, s=(self.height, self.width)), dim=(2, 3))

    def coloured(self, values_BCHW: Tensor) -> Tensor:
        """Values as colours in [0, 1]: channels mixed at random, with a random mean colour and contrast."""
        channels = values_BCHW.shape[1]
        matrix = 0.4 * self.normal(self.count, self.channels, channels) + self.normal(
            self.count, self.channels, 1
        )
        matrix = matrix / matrix.square().sum(dim=(1, 2), keepdim=True).sqrt().clamp_min(1e-6)
        mixed = torch.einsum("bdc,bchw->bdhw", matrix, values_BCHW)
        mixed = self.standardised(mixed, dim=(1, 2, 3))
        middle = self.uniform(self.count, self.channels, 1, 1, low=0.1, high=0.9)
        return (middle + mixed * self.uniform(self.count, 1, 1, 1, low=0.1, high=0.45)).clamp(0, 1)

    @staticmethod
    def standardised(values: Tensor, dim: tuple[int, ...]) -> Tensor:
        """Values with mean 0 and deviation 1 over `dim`; flat ones become 0."""
        values = values - values.mean(dim, keepdim=True)
        return values / values.square().mean(dim, keepdim=True).sqrt().clamp_min(1e-3)
