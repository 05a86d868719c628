"""VGG-11 with batch normalisation (Simonyan and Zisserman 2015) and one linear head."""

from __future__ import annotations

from torch import Tensor, nn

LAYERS = (1, 0, 2, 0, 4, 4, 0, 8, 8, 0, 8, 8, 0)
"""Channels of each convolution, in widths; 0 is a 2x2 max pooling."""


class Vgg11(nn.Module):
    """Eight 3x3 convolutions with BN, five poolings, global average, one linear layer."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int], *, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = input_shape[0]
        for widths in LAYERS:
            if widths == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            outputs = widths * width
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(8 * width, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        logits: Tensor = self.classifier(self.features(x_BCHW).mean((2, 3)))
        return logits
