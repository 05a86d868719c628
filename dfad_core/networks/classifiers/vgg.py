"""VGG with batch normalisation (Simonyan and Zisserman 2015).

VGG-11 for small images, with one linear head, and VGG-16 as torchvision has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

LAYERS_11 = (1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0)
LAYERS_16 = (1, 1, 0, 2, 2, 0, 4, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0)
"""Channels of each convolution, in widths; 0 is a 2x2 max pooling."""


def _features(layers: Sequence[int], inputs: int, width: int) -> nn.Sequential:
    """3x3 convolutions with BN, and poolings."""
    modules: list[nn.Module] = []
    for widths in layers:
        if widths == 0:
            modules.append(nn.MaxPool2d(2))
            continue
        outputs = widths * width
        modules += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*modules)


class Vgg11(nn.Module):
    """Eight 3x3 convolutions with BN, five poolings, global average, one linear layer."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int], *, width: int = 64) -> None:
        super().__init__()
        self.features = _features(LAYERS_11, input_shape[0], width)
        self.classifier = nn.Linear(8 * width, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        logits: Tensor = self.classifier(self.features(x_BCHW).mean((2, 3)))
        return logits


class Vgg16(nn.Module):
    """Thirteen 3x3 convolutions with BN, five poolings, a 7x7 grid, three linear layers (without dropout)."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.features = _features(LAYERS_16, input_shape[0], 64)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 49, 4096),
            nn.ReLU(),
            nn.Identity(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Identity(),
            nn.Linear(4096, num_classes),
        )

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        grid = F.adaptive_avg_pool2d(self.features(x_BCHW), 7)
        logits: Tensor = self.classifier(grid.flatten(1))
        return logits
