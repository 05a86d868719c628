"""The game's value where the two networks agree on the class."""

import torch.nn.functional as F
from torch import Tensor


def agreed_divergence(student_logits_BK: Tensor, teacher_logits_BK: Tensor) -> Tensor:
    r"""Kullback-Leibler divergence, over the images on which both networks' largest class is the same.

    .. math:: D = \frac{1}{B} \sum_b 1(\arg\max s_b = \arg\max t_b) \sum_k p_{bk} \log \frac{p_{bk}}{q_{bk}},
              \quad p = \mathrm{softmax}(t), \; q = \mathrm{softmax}(s)

    Fang et al. 2021 (CMI), arXiv 2105.08584, the adversarial term of its inversion (taken up by FastDFKD
    and NAYER): images that already deceive the student are left alone. Differs from the paper in nothing
    known.

    Shapes: two (B, K) tensors -> (). Range: [0, inf). Reduction: sum over classes, mean over the whole
    batch, in float32 or finer. Gradient: whatever produced its arguments; the choice carries none.
    """
    student = student_logits_BK if student_logits_BK.dtype.itemsize >= 4 else student_logits_BK.float()
    teacher = teacher_logits_BK if teacher_logits_BK.dtype.itemsize >= 4 else teacher_logits_BK.float()
    gap_BK = F.kl_div(
        F.log_softmax(student, dim=1), F.log_softmax(teacher, dim=1), reduction="none", log_target=True
    )
    agreed_B = (student.argmax(dim=1) == teacher.argmax(dim=1)).to(gap_BK.dtype)
    return (gap_BK.sum(dim=1) * agreed_B).mean()
