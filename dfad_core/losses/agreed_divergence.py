"""Kullback-Leibler divergence on the images whose class both networks agree on."""

import torch.nn.functional as F
from torch import Tensor

from dfad_core.losses.precision import full_precision


def agreed_divergence(student_logits_BK: Tensor, teacher_logits_BK: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence, over the images on which both networks' largest class is the same.

    .. math:: D = \frac{1}{B} \sum_b 1(\arg\max s_b = \arg\max t_b) \sum_k p_{bk} \log \frac{p_{bk}}{q_{bk}},
              \quad p = \mathrm{softmax}(t), \; q = \mathrm{softmax}(s)

    Fang et al. 2021 (CMI), arXiv 2105.08584, the adversarial term of its inversion, also used by FastDFKD
    and NAYER: images that the student already classifies differently count as 0. Differs from the
    paper in nothing known.

    Shapes: two (B, K) tensors -> (). Range: [0, inf). Reduction: sum over classes, mean over the whole
    batch, in float32 or finer. Gradient: both arguments; the choice of images has none.

    >>> import torch
    >>> teacher = torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    >>> student = torch.tensor([[2.0, 0.0], [0.0, 1.0]])  # equal; another class
    >>> agreed_divergence(student, teacher).item()
    0.0
    """
    student = full_precision(student_logits_BK)
    teacher = full_precision(teacher_logits_BK)
    gap_BK = F.kl_div(
        F.log_softmax(student, dim=1), F.log_softmax(teacher, dim=1), reduction="none", log_target=True
    )
    agreed_B = (student.argmax(dim=1) == teacher.argmax(dim=1)).to(gap_BK.dtype)
    return (gap_BK.sum(dim=1) * agreed_B).mean()
