"""MobileNetV2 (Sandler et al. 2018, table 2) and V3 (Howard et al. 2019, tables 1 and 2).

Under torchvision's names of tensors.
"""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from dfad_core.networks.classifiers.imagenet.inverted_residual import (
    ConvNorm,
    InvertedResidual,
    SqueezeExcite,
    rounded,
)

V2_STAGES = (
    # expansion, channels, blocks, stride
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
V3_BLOCKS = {
    # kernel, hidden channels, channels, squeeze-and-excitation, hardswish instead of ReLU, stride
    "small": (
        (3, 16, 16, True, False, 2),
        (3, 72, 24, False, False, 2),
        (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2),
        (5, 240, 40, True, True, 1),
        (5, 240, 40, True, True, 1),
        (5, 120, 48, True, True, 1),
        (5, 144, 48, True, True, 1),
        (5, 288, 96, True, True, 2),
        (5, 576, 96, True, True, 1),
        (5, 576, 96, True, True, 1),
    ),
    "large": (
        (3, 16, 16, False, False, 1),
        (3, 64, 24, False, False, 2),
        (3, 72, 24, False, False, 1),
        (5, 72, 40, True, False, 2),
        (5, 120, 40, True, False, 1),
        (5, 120, 40, True, False, 1),
        (3, 240, 80, False, True, 2),
        (3, 200, 80, False, True, 1),
        (3, 184, 80, False, True, 1),
        (3, 184, 80, False, True, 1),
        (3, 480, 112, True, True, 1),
        (3, 672, 112, True, True, 1),
        (5, 672, 160, True, True, 2),
        (5, 960, 160, True, True, 1),
        (5, 960, 160, True, True, 1),
    ),
}
V3_HIDDEN = {"small": 1024, "large": 1280}
V3_EPS = 1e-3


class _V2Block(nn.Module):
    """An inverted residual whose last convolution and batch norm stand by themselves."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        expand = [ConvNorm(inputs, hidden, activation=nn.ReLU6)] if expansion != 1 else []
        self.conv = nn.Sequential(
            *expand,
            ConvNorm(hidden, hidden, 3, stride, groups=hidden, activation=nn.ReLU6),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.has_shortcut else y


class _MobileNet(nn.Module):
    """Features, global average, classifier; total stride 32."""

    features: nn.Sequential
    classifier: nn.Sequential

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        logits: Tensor = self.classifier(self.features(x_BCHW).mean((2, 3)))
        return logits


class MobileNetV2(_MobileNet):
    """Seven stages. `width` / 32 is torchvision's `width_mult`: 32, or channels of the stem."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int], *, width: int = 32) -> None:
        super().__init__()
        share = width / 32
        inputs = rounded(32 * share)
        layers: list[nn.Module] = [ConvNorm(input_shape[0], inputs, 3, 2, activation=nn.ReLU6)]
        for expansion, channels, count, stride in V2_STAGES:
            outputs = rounded(channels * share)
            for number in range(count):
                layers.append(_V2Block(inputs, outputs, expansion, stride if number == 0 else 1))
                inputs = outputs
        last = rounded(1280 * max(1.0, share))
        layers.append(ConvNorm(inputs, last, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Identity(), nn.Linear(last, num_classes))


class MobileNetV3(_MobileNet):
    """Of `size` small or large. `width` / 16 is torchvision's `width_mult`."""

    def __init__(
        self, num_classes: int, input_shape: tuple[int, int, int], *, size: str, width: int = 16
    ) -> None:
        super().__init__()
        share = width / 16
        inputs = rounded(16 * share)
        layers: list[nn.Module] = [
            ConvNorm(input_shape[0], inputs, 3, 2, activation=nn.Hardswish, eps=V3_EPS)
        ]
        for kernel, hidden, channels, has_squeeze, has_hardswish, stride in V3_BLOCKS[size]:
            inner, outputs = rounded(hidden * share), rounded(channels * share)
            squeeze = partial(SqueezeExcite, inner, rounded(inner // 4), nn.ReLU, nn.Hardsigmoid)
            block = InvertedResidual(
                inputs,
                inner,
                outputs,
                kernel=kernel,
                stride=stride,
                activation=nn.Hardswish if has_hardswish else nn.ReLU,
                squeeze=squeeze if has_squeeze else None,
                eps=V3_EPS,
            )
            layers.append(block)
            inputs = outputs
        layers.append(ConvNorm(inputs, 6 * inputs, activation=nn.Hardswish, eps=V3_EPS))
        self.features = nn.Sequential(*layers)
        last = rounded(V3_HIDDEN[size] * share)
        self.classifier = nn.Sequential(
            nn.Linear(6 * inputs, last), nn.Hardswish(), nn.Identity(), nn.Linear(last, num_classes)
        )
