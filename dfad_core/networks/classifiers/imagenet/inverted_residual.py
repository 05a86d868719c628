"""Parts of MobileNets and EfficientNets: convolutions with batch norm, squeeze-and-excitation, blocks."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Activation = Callable[[], nn.Module]


def rounded(channels: float) -> int:
    """The multiple of 8 nearest to `channels`, and at least 90 % of it.

    Source: the published code of Sandler et al. 2018, arXiv 1801.04381.
    """
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * channels else nearest + 8


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and, if there is any, activation. Odd kernels keep height and width."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        activation: Activation | None = None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, eps=eps),
            *([activation()] if activation else []),
        )


class SqueezeExcite(nn.Module):
    """A factor for each channel, from all channels' means (Hu et al. 2018, arXiv 1709.01507)."""

    def __init__(self, channels: int, squeezed: int, activation: Activation, gate: Activation) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.activation = activation()
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        factors = self.gate(self.fc2(self.activation(self.fc1(x.mean((2, 3), keepdim=True)))))
        y: Tensor = x * factors
        return y


class InvertedResidual(nn.Module):
    """1x1 to `hidden` channels unless it has so many, depthwise, squeeze-and-excitation, 1x1 to `outputs`."""

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        kernel: int,
        stride: int,
        activation: Activation,
        squeeze: Callable[[], nn.Module] | None,
        eps: float = 1e-5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if hidden != inputs:
            layers.append(ConvNorm(inputs, hidden, activation=activation, eps=eps))
        layers.append(ConvNorm(hidden, hidden, kernel, stride, groups=hidden, activation=activation, eps=eps))
        if squeeze is not None:
            layers.append(squeeze())
        layers.append(ConvNorm(hidden, outputs, eps=eps))
        self.block = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.block(x)
        return x + y if self.has_shortcut else y
