"""Distance of a batch's feature statistics from those stored in the teacher's BN layers."""

from collections.abc import Sequence

import torch
from torch import Tensor

LEAST_VARIANCE = 1e-6
"""In `bn_divergence`: channels that are constant, in the data or in the batch, count as this."""


def bn_statistics(layers: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]]) -> Tensor:
    r"""Distance of batch mean and variance from the running ones, summed over BN layers.

    .. math:: R_{BN} = \sum_l \| \mu_l(x) - \hat\mu_l \|_2 + \| \sigma^2_l(x) - \hat\sigma^2_l \|_2

    Yin et al. 2020, arXiv 1912.08795, equation 4 (feature distribution regularization). Differs from
    the paper in nothing known.

    Shapes: for each layer (mean_C, var_C, running_mean_C, running_var_C) -> (). Range: [0, inf).
    Reduction: Euclidean norm over channels, sum over layers. Gradient: the generator, through the
    batch's statistics; the running ones are constants.

    >>> mean, var = torch.tensor([3.0, 4.0]), torch.ones(2)
    >>> bn_statistics([(mean, var, torch.zeros(2), torch.ones(2))]).item()
    5.0
    """
    total = layers[0][0].new_zeros(())
    for mean_C, var_C, running_mean_C, running_var_C in layers:
        total = total + torch.linalg.vector_norm(mean_C - running_mean_C)
        total = total + torch.linalg.vector_norm(var_C - running_var_C)
    return total


def bn_divergence(layers: Sequence[tuple[Tensor, Tensor, Tensor, Tensor]]) -> Tensor:
    r"""Divergence of the batch's channels from the stored ones, as normal distributions; mean over BN layers.

    .. math:: \frac 1L \sum_l \frac 1C \sum_c \frac 12 \left( \frac{\sigma^2 + (\mu - \hat\mu)^2}
        {\hat\sigma^2} - 1 - \ln \frac{\sigma^2}{\hat\sigma^2} \right)

    The Kullback-Leibler divergence of Choi et al. 2020, arXiv 2005.04136, section 3.2. Unlike `bn_statistics`
    it has no unit, so that wide and narrow layers, and channels of any scale, count alike. Differs in being a
    mean, not a sum.

    Shapes: for each layer (mean_C, var_C, running_mean_C, running_var_C) -> (). Range: [0, inf).
    Reduction: mean over channels, then over layers. Gradient: as that of `bn_statistics`.

    >>> zero, one = torch.zeros(1), torch.ones(1)
    >>> bn_divergence([(one, one, zero, one)]).item()
    0.5
    """
    total = layers[0][0].new_zeros(())
    for mean_C, var_C, running_mean_C, running_var_C in layers:
        scale_C = running_var_C.clamp_min(LEAST_VARIANCE)
        ratio_C = var_C.clamp_min(LEAST_VARIANCE) / scale_C
        shift_C = (mean_C - running_mean_C).square() / scale_C
        total = total + 0.5 * (ratio_C + shift_C - 1 - ratio_C.log()).mean()
    return total / len(layers)
