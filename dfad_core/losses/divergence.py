"""The gap between two networks' class probabilities."""

import torch.nn.functional as F
from torch import Tensor


def divergence(student_logits_BK: Tensor, teacher_logits_BK: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Kullback-Leibler divergence of the student's softened probabilities from the teacher's.

    .. math:: D = \frac{\tau^2}{B} \sum_{b,k} p_k \log \frac{p_k}{q_k},
              \quad p = \mathrm{softmax}(t / \tau), \; q = \mathrm{softmax}(s / \tau)

    Hinton et al. 2015, arXiv 1503.02531, section 2 (the factor tau^2 keeps gradients comparable between
    temperatures). Differs from the paper in leaving out the hard-label part: there are no labels here.

    Shapes: two (B, K) tensors -> (). Range: [0, inf). Reduction: sum over classes, mean over the batch,
    in float32 or finer. Gradient: whatever produced its arguments.
    """
    student = student_logits_BK if student_logits_BK.dtype.itemsize >= 4 else student_logits_BK.float()
    teacher = teacher_logits_BK if teacher_logits_BK.dtype.itemsize >= 4 else teacher_logits_BK.float()
    gap = F.kl_div(
        F.log_softmax(student / temperature, dim=1),
        F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean",
        log_target=True,
    )
    return gap * temperature**2
