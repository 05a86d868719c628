"""Mean squared difference of two networks' logits."""

from torch import Tensor

from dfad_core.losses.precision import full_precision


def squared_error(student_logits_BK: Tensor, teacher_logits_BK: Tensor) -> Tensor:
    r"""Mean squared difference of the logits.

    .. math:: D = \frac{1}{BK} \sum_{b,k} (s_k(x_b) - t_k(x_b))^2

    Ba and Caruana 2014, arXiv 1312.6184, equation 1 (regression on logits). Differs from the paper in the
    mean over classes instead of half their sum.

    Shapes: two (B, K) tensors -> (). Range: [0, inf). Reduction: mean, in float32 or finer.
    Gradient: both arguments.

    >>> import torch
    >>> squared_error(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])).item()
    2.5
    """
    student = full_precision(student_logits_BK)
    teacher = full_precision(teacher_logits_BK)
    return (student - teacher).square().mean()
