"""Mean absolute difference of two networks' logits: the objective of adversarial training."""

from torch import Tensor

from dfad_core.losses.precision import full_precision


def discrepancy(student_logits_BK: Tensor, teacher_logits_BK: Tensor) -> Tensor:
    r"""Mean absolute difference of the logits.

    .. math:: D = \frac{1}{BK} \sum_{b,k} |s_k(x_b) - t_k(x_b)|

    Fang et al. 2019, arXiv 1912.11006: the discrepancy that the student minimises and the generator
    maximises. Differs from the paper in nothing known; its public script takes the same mean over batch
    and classes.

    Shapes: two (B, K) tensors -> (). Range: [0, inf). Reduction: mean, in float32 or finer.
    Gradient: both arguments.

    >>> import torch
    >>> discrepancy(torch.tensor([[1.0, 2.0]]), torch.tensor([[0.0, 4.0]])).item()
    1.5
    """
    return (full_precision(student_logits_BK) - full_precision(teacher_logits_BK)).abs().mean()
