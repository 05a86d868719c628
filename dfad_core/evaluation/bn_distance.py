"""Distance of images from the teacher's training data, measured by its stored BN statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dfad_core.networks.batch_norm import bn_layers


class BnDistance:
    r"""Distance of the features' means from the stored ones, in stored deviations.

    .. math:: d = \frac{1}{L} \sum_l \frac{1}{C_l} \sum_c
              \frac{|\mu_{lc}(x) - \hat\mu_{lc}|}{\sqrt{\hat\sigma^2_{lc} + \epsilon}}

    The statistics are those of Yin et al. 2020, arXiv 1912.08795, equation 4; differs in the scale, which
    makes layers and teachers comparable. The distance is 0 or more; 1 means one deviation on average.

    The means are taken over all images (B, C, H, W) that pass through the teacher within blocks of `reading`.
    """

    def __init__(self, teacher: nn.Module) -> None:
        self._layers = bn_layers(teacher)
        self._passes: list[tuple[int, list[tuple[nn.Module, Tensor]]]] = []

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Record one pass of the teacher, in eval mode."""
        means: list[tuple[nn.Module, Tensor]] = []
        images = 0

        def record(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            nonlocal images
            features = inputs[0].detach().float()
            images = len(features)
            means.append((layer, features.mean(dim=[d for d in range(features.dim()) if d != 1])))

        handles = [layer.register_forward_pre_hook(record) for layer in self._layers]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()
        self._passes.append((images, means))

    @torch.no_grad()
    def value(self) -> float | None:
        """The distance; None for a teacher without BN, and before any pass."""
        if not self._layers or not self._passes:
            return None
        total = sum(images for images, _ in self._passes)
        gaps = []
        for calls in zip(*(means for _, means in self._passes), strict=True):
            layer = calls[0][0]
            shares = [images / total for images, _ in self._passes]
            mean_C = torch.stack([s * m for s, (_, m) in zip(shares, calls, strict=True)]).sum(dim=0)
            assert isinstance(layer.running_mean, Tensor)
            assert isinstance(layer.running_var, Tensor)
            assert isinstance(layer.eps, float)
            gaps.append(((mean_C - layer.running_mean).abs() / (layer.running_var + layer.eps).sqrt()).mean())
        return float(torch.stack(gaps).mean().item())


@torch.no_grad()
def bn_distance(teacher: nn.Module, images_BCHW: Tensor) -> float | None:
    """`BnDistance` of one batch."""
    distance = BnDistance(teacher)
    with distance.reading():
        teacher(images_BCHW)
    return distance.value()
