"""Wide residual networks for small images (Zagoruyko and Komodakis 2016), without dropout."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class _Block(nn.Module):
    """Pre-activation block; where widths differ the shortcut starts after the first BN + ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = inputs == outputs and stride == 1
        self.convShortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        y: Tensor = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return y + shortcut


class WideResNet(nn.Module):
    """6n + 4 layers, `width` times 16, 32 and 64 channels."""

    def __init__(
        self, num_classes: int, input_shape: tuple[int, int, int], *, depth: int, width: int
    ) -> None:
        super().__init__()
        blocks = (depth - 4) // 6
        self.conv1 = nn.Conv2d(input_shape[0], 16, 3, 1, 1, bias=False)
        inputs = 16
        for number, base in enumerate((16, 32, 64), 1):
            outputs = base * width
            rest = [_Block(outputs, outputs, 1) for _ in range(blocks - 1)]
            first = _Block(inputs, outputs, 1 if number == 1 else 2)
            self.add_module(f"block{number}", nn.Sequential(first, *rest))
            inputs = outputs
        self.bn1 = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        x = self.conv1(x_BCHW)
        for number in range(1, 4):
            x = self.get_submodule(f"block{number}")(x)
        logits: Tensor = self.fc(F.relu(self.bn1(x)).mean((2, 3)))
        return logits
