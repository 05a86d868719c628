"""ConvNeXt-Tiny (Liu et al. 2022, arXiv 2201.03545) under torchvision's names of tensors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STAGES = ((96, 3), (192, 3), (384, 9), (768, 3))
"""Channels and number of blocks."""
EPS = 1e-6


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Block(nn.Module):
    """Depthwise 7x7, layer norm, a perceptron for each pixel; its output is scaled by `layer_scale`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), 1e-6))
        self.block = nn.ModuleDict(
            {
                "0": nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
                "2": nn.LayerNorm(channels, eps=EPS),
                "3": nn.Linear(channels, 4 * channels),
                "5": nn.Linear(4 * channels, channels),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        y_BHWC = self.block["2"](self.block["0"](x).permute(0, 2, 3, 1))
        # Stages are looked for in activations, and take the second dimension for channels.
        hidden_BCHW = F.gelu(self.block["3"](y_BHWC).permute(0, 3, 1, 2))
        y_BHWC = self.block["5"](hidden_BCHW.permute(0, 2, 3, 1))
        y: Tensor = x + self.layer_scale * y_BHWC.permute(0, 3, 1, 2)
        return y


class ConvNeXtTiny(nn.Module):
    """A stem of 4x4 patches and four stages; total stride 32."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int]) -> None:
        super().__init__()
        first, last = STAGES[0][0], STAGES[-1][0]
        layers: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(input_shape[0], first, 4, 4), LayerNorm2d(first, eps=EPS))
        ]
        inputs = first
        for channels, count in STAGES:
            if channels != inputs:
                layers.append(nn.Sequential(LayerNorm2d(inputs, eps=EPS), nn.Conv2d(inputs, channels, 2, 2)))
            layers.append(nn.Sequential(*(_Block(channels) for _ in range(count))))
            inputs = channels
        self.features = nn.Sequential(*layers)
        self.classifier = nn.ModuleDict({"0": LayerNorm2d(last, eps=EPS), "2": nn.Linear(last, num_classes)})
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                assert layer.bias is not None
                nn.init.zeros_(layer.bias)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits (B, num_classes)."""
        means = self.features(x_BCHW).mean((2, 3), keepdim=True)
        logits: Tensor = self.classifier["2"](self.classifier["0"](means).flatten(1))
        return logits
