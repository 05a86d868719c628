"""VGG-11 with batch normalisation (Simonyan and Zisserman 2015) and one linear head."""

from __future__ import annotations

from torch import Tensor, nn

LAYERS = (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0)
"""Channels of each convolution; 0 is a 2x2 max pooling."""


class Vgg11(nn.Module):
    """Eight 3x3 convolutions with BN, five poolings, global average, one linear layer."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = input_shape[0]
        for outputs in LAYERS:
            if outputs == 0:
                layers.append(nn.MaxPool2d(2))
                continue
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
            inputs = outputs
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(512, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        logits: Tensor = self.classifier(self.features(x_BCHW).mean((2, 3)))
        return logits
