"""Distance of a batch's feature statistics from those stored in the teacher's BN layers."""

from collections.abc import Sequence

import torch
from torch import Tensor


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
