"""The gap between two networks' logits, the value of the whole game."""

from torch import Tensor


def discrepancy(student_logits_BK: Tensor, teacher_logits_BK: Tensor) -> Tensor:
    r"""Mean absolute difference of the logits.

    .. math:: D = \frac{1}{BK} \sum_{b,k} |s_k(x_b) - t_k(x_b)|

    Fang et al. 2019, arXiv 1912.11006: the discrepancy both players share. Differs from the paper in
    nothing known; its public script takes the same mean over batch and classes.

    Shapes: two (B, K) tensors -> (). Range: [0, inf). Reduction: mean, in float32 or finer.
    Gradient: whatever produced its arguments. The student minimises it, the generator maximises it.
    """
    return (_full(student_logits_BK) - _full(teacher_logits_BK)).abs().mean()


def _full(logits: Tensor) -> Tensor:
    return logits if logits.dtype.itemsize >= 4 else logits.float()
