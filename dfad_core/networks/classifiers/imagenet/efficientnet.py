"""EfficientNet-B0 (Tan and Le 2019, table 1) under torchvision's names of tensors."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn

from dfad_core.networks.classifiers.imagenet.inverted_residual import (
    ConvNorm,
    InvertedResidual,
    SqueezeExcite,
)

STAGES = (
    # expansion, kernel, stride, channels, blocks
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class EfficientNetB0(nn.Module):
    """Seven stages of inverted residuals with squeeze-and-excitation; total stride 32."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        inputs = 32
        layers: list[nn.Module] = [ConvNorm(input_shape[0], inputs, 3, 2, activation=nn.SiLU)]
        for expansion, kernel, stride, outputs, count in STAGES:
            blocks: list[nn.Module] = []
            for number in range(count):
                hidden = expansion * inputs
                block = InvertedResidual(
                    inputs,
                    hidden,
                    outputs,
                    kernel=kernel,
                    stride=stride if number == 0 else 1,
                    activation=nn.SiLU,
                    squeeze=partial(SqueezeExcite, hidden, inputs // 4, nn.SiLU, nn.Sigmoid),
                )
                blocks.append(block)
                inputs = outputs
            layers.append(nn.Sequential(*blocks))
        layers.append(ConvNorm(inputs, 1280, activation=nn.SiLU))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(nn.Identity(), nn.Linear(1280, num_classes))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        logits: Tensor = self.classifier(self.features(x_BCHW).mean((2, 3)))
        return logits
