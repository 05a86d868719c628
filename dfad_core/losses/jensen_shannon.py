"""Jensen-Shannon divergence of two networks' class probabilities: bounded by 1."""

import math

import torch.nn.functional as F
from torch import Tensor

from dfad_core.losses.precision import full_precision


def jensen_shannon(student_logits_BK: Tensor, teacher_logits_BK: Tensor, temperature: float = 3.0) -> Tensor:
    r"""Jensen-Shannon divergence of the softened probabilities, in bits.

    .. math:: JS = \frac{1}{2} KL(p \| m) + \frac{1}{2} KL(q \| m), \; m = \tfrac{1}{2}(p + q), \quad
              p = \mathrm{softmax}(t / \tau), \; q = \mathrm{softmax}(s / \tau)

    Yin et al. 2020, arXiv 1912.08795, equation 8 (adaptive DeepInversion minimises 1 - JS). Differs from
    the paper in the unit: division by log 2 makes 1 the largest value.

    Shapes: two (B, K) tensors -> (). Range: [0, 1]. Reduction: sum over classes, mean over the batch, in
    float32 or finer. Gradient: both arguments.

    >>> import torch
    >>> jensen_shannon(torch.tensor([[900.0, 0.0]]), torch.tensor([[0.0, 900.0]])).item()
    1.0
    """
    student = full_precision(student_logits_BK)
    teacher = full_precision(teacher_logits_BK)
    log_q = F.log_softmax(student / temperature, dim=1)
    log_p = F.log_softmax(teacher / temperature, dim=1)
    log_m = log_p.logaddexp(log_q) - math.log(2)
    kl_p = F.kl_div(log_m, log_p, reduction="batchmean", log_target=True)
    kl_q = F.kl_div(log_m, log_q, reduction="batchmean", log_target=True)
    return (kl_p + kl_q) / (2 * math.log(2))
