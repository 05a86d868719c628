"""Kullback-Leibler divergence of two networks' class probabilities."""

import torch.nn.functional as F
from torch import Tensor

from dfad_core.losses.precision import full_precision


def divergence(student_logits_BK: Tensor, teacher_logits_BK: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Kullback-Leibler divergence of the student's softened probabilities from the teacher's.

    .. math:: D = \frac{\tau^2}{B} \sum_{b,k} p_k \log \frac{p_k}{q_k},
              \quad p = \mathrm{softmax}(t / \tau), \; q = \mathrm{softmax}(s / \tau)

    Hinton et al. 2015, arXiv 1503.02531, section 2 (the factor tau^2 keeps gradients comparable between
    temperatures). Differs from the paper in leaving out the hard-label part: there are no labels here.

    Shapes: two (B, K) tensors -> (). Range: [0, inf). Reduction: sum over classes, mean over the batch,
    in float32 or finer. Gradient: both arguments.

    >>> import torch
    >>> logits = torch.tensor([[1.0, 2.0]])
    >>> shifted = logits + 3.0  # changes no probability
    >>> divergence(logits, shifted, temperature=4.0).item()
    0.0
    """
    student = full_precision(student_logits_BK)
    teacher = full_precision(teacher_logits_BK)
    gap = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return gap * temperature**2
