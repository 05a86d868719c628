"""How far images lie from what a teacher was trained on, as far as its BN layers remember."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dfad_core.methods.terms import bn_layers


@torch.no_grad()
def bn_distance(teacher: nn.Module, images_BCHW: Tensor) -> float | None:
    r"""Distance of the batch's feature means from the stored ones, in stored deviations; None without BN.

    .. math:: d = \frac{1}{L} \sum_l \frac{1}{C_l} \sum_c
              \frac{|\mu_{lc}(x) - \hat\mu_{lc}|}{\sqrt{\hat\sigma^2_{lc} + \epsilon}}

    The statistics are those of Yin et al. 2020, arXiv 1912.08795, equation 4; differs in the scale, which
    makes layers and teachers comparable. 0 and more: at 1, features lie a deviation off on average.
    """
    layers = bn_layers(teacher)
    if not layers:
        return None
    gaps: list[Tensor] = []

    def record(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features = inputs[0].float()
        mean_C = features.mean(dim=[d for d in range(features.dim()) if d != 1])
        assert isinstance(layer.running_mean, Tensor)
        assert isinstance(layer.running_var, Tensor)
        assert isinstance(layer.eps, float)
        gaps.append(((mean_C - layer.running_mean).abs() / (layer.running_var + layer.eps).sqrt()).mean())

    handles = [layer.register_forward_pre_hook(record) for layer in layers]
    try:
        teacher(images_BCHW)
    finally:
        for handle in handles:
            handle.remove()
    return float(torch.stack(gaps).mean().item())
