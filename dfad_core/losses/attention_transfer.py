"""Attention maps of network stages and the gap between two networks' maps."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from dfad_core.losses.precision import full_precision


def attention_map(features_BCHW: Tensor) -> Tensor:
    r"""Attention map of a stage: squared activations, averaged over channels, normalised to length 1.

    .. math:: Q = \mathrm{vec}\Big(\tfrac{1}{C} \sum_c f_c^2\Big), \quad A = Q / \|Q\|_2

    Zagoruyko and Komodakis 2017, arXiv 1612.03928, section 3.1 (the sum of squares). Differs from the
    paper in nothing known. Shapes: (B, C, H, W) -> (B, H * W), float32 or finer.
    """
    features = full_precision(features_BCHW)
    return F.normalize(features.square().mean(dim=1).flatten(1), dim=1)


def attention_transfer(student_maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
    r"""Mean squared difference of attention maps, summed over stages.

    .. math:: L_{AT} = \sum_l \mathrm{mean} (A^S_l - A^T_l)^2

    Micaelli and Storkey 2019 (ZSKT), arXiv 1905.09768, the student's attention term, after Zagoruyko
    and Komodakis. Differs from the equation in the mean over positions, as in its public code.

    Shapes: for each stage two (B, H * W) tensors -> (). Range: [0, 4 * stages]. Gradient: the student; the
    teacher's maps are constants.

    >>> maps = attention_map(torch.tensor([[[[3.0, 0.0]]]])), attention_map(torch.tensor([[[[0.0, 4.0]]]]))
    >>> attention_transfer([maps[0]], [maps[1]]).item()
    1.0
    """
    total = torch.zeros((), device=student_maps[0].device)
    for student_BN, teacher_BN in zip(student_maps, teacher_maps, strict=True):
        total = total + F.mse_loss(student_BN, teacher_BN)
    return total
