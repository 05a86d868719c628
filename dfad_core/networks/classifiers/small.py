"""Small networks for 8x8 inputs: a perceptron and three convolutions."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn


class Mlp8(nn.Module):
    """Two hidden layers of `width` units."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int], *, width: int = 64) -> None:
        super().__init__()
        self.fc1 = nn.Linear(math.prod(input_shape), width)
        self.fc2 = nn.Linear(width, width)
        self.fc3 = nn.Linear(width, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        x = F.relu(self.fc1(x_BCHW.flatten(1)))
        logits: Tensor = self.fc3(F.relu(self.fc2(x)))
        return logits


class Cnn8(nn.Module):
    """Three 3x3 convolutions with BN (`width`, 2 `width`, 2 `width` channels), one pooling, one head."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int], *, width: int = 20) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(input_shape[0], width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(2 * width)
        self.conv3 = nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(2 * width)
        self.linear = nn.Linear(2 * width * 4, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        x = F.relu(self.bn1(self.conv1(x_BCHW)))
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        x = F.relu(self.bn3(self.conv3(x)))
        # A 2x2 grid keeps where things are, which a global average would lose on 8x8 images.
        logits: Tensor = self.linear(F.adaptive_avg_pool2d(x, 2).flatten(1))
        return logits
