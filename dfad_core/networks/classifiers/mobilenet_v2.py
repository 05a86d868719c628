"""MobileNetV2 (Sandler et al. 2018) with the stride-1 stem used on 32x32 images."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

STAGES = (
    # expansion, channels, blocks, stride
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.conv1 = nn.Conv2d(inputs, hidden, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.has_shortcut = stride == 1
        self.shortcut = nn.Sequential()
        if stride == 1 and inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.relu(self.bn1(self.conv1(x)))
        hidden = F.relu(self.bn2(self.conv2(hidden)))
        y: Tensor = self.bn3(self.conv3(hidden))
        if self.has_shortcut:
            y = y + self.shortcut(x)
        return y


class MobileNetV2(nn.Module):
    """Seven stages of inverted residuals; total stride 8. `width` channels after the stem."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int], *, width: int = 32) -> None:
        super().__init__()

        def scaled(channels: int) -> int:
            return max(1, channels * width // 32)

        self.conv1 = nn.Conv2d(input_shape[0], width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        blocks: list[nn.Module] = []
        inputs = width
        for expansion, channels, count, stride in STAGES:
            outputs = scaled(channels)
            for number in range(count):
                blocks.append(_InvertedResidual(inputs, outputs, expansion, stride if number == 0 else 1))
                inputs = outputs
        self.layers = nn.Sequential(*blocks)
        self.conv2 = nn.Conv2d(inputs, scaled(1280), 1, bias=False)
        self.bn2 = nn.BatchNorm2d(scaled(1280))
        self.linear = nn.Linear(scaled(1280), num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        x = self.layers(F.relu(self.bn1(self.conv1(x_BCHW))))
        x = F.relu(self.bn2(self.conv2(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits
