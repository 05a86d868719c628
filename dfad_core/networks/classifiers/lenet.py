"""LeNet-5 (LeCun et al. 1998) with ReLU and max pooling, and its half-width form."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class LeNet5(nn.Module):
    """Three 5x5 convolutions and two linear layers for 32x32 inputs (28x28: padded by 2)."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int], *, half: bool = False) -> None:
        super().__init__()
        channels, height, _ = input_shape
        first, second, third, hidden = (3, 8, 60, 42) if half else (6, 16, 120, 84)
        self.conv1 = nn.Conv2d(channels, first, 5, padding=(32 - height) // 2)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.conv3 = nn.Conv2d(second, third, 5)
        self.fc1 = nn.Linear(third, hidden)
        self.fc2 = nn.Linear(hidden, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        x = F.max_pool2d(F.relu(self.conv1(x_BCHW)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = F.relu(self.conv3(x)).flatten(1)
        logits: Tensor = self.fc2(F.relu(self.fc1(x)))
        return logits
