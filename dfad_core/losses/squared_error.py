"""The squared gap between two networks' logits."""

from torch import Tensor


def squared_error(student_logits_BK: Tensor, teacher_logits_BK: Tensor) -> Tensor:
    r"""Mean squared difference of the logits.

    .. math:: D = \frac{1}{BK} \sum_{b,k} (s_k(x_b) - t_k(x_b))^2

    Ba and Caruana 2014, arXiv 1312.6184, equation 1 (regression on logits). Differs from the paper in the
    mean over classes in the place of half their sum.

    Shapes: two (B, K) tensors -> (). Range: [0, inf). Reduction: mean, in float32 or finer.
    Gradient: whatever produced its arguments.
    """
    student = student_logits_BK if student_logits_BK.dtype.itemsize >= 4 else student_logits_BK.float()
    teacher = teacher_logits_BK if teacher_logits_BK.dtype.itemsize >= 4 else teacher_logits_BK.float()
    return (student - teacher).square().mean()
