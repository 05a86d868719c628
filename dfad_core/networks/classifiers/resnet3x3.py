"""ResNet-18/34 (He et al. 2016) with a 3x3 stem and no first pooling, as used on CIFAR."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class ResNet3x3(nn.Module):
    """Four stages of `width`, 2, 4 and 8 `width` channels; `depth` 18 or 34."""

    def __init__(
        self, num_classes: int, input_shape: tuple[int, int, int], *, depth: int, width: int = 64
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(input_shape[0], width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs = width
        for number, blocks in enumerate(BLOCKS[depth], 1):
            outputs = width * 2 ** (number - 1)
            stride = 1 if number == 1 else 2
            rest = [_Block(outputs, outputs, 1) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(_Block(inputs, outputs, stride), *rest))
            inputs = outputs
        self.linear = nn.Linear(8 * width, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        x = F.relu(self.bn1(self.conv1(x_BCHW)))
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits
