"""Activation regularizer: puts student units on the teacher's side of each activation boundary."""

from collections.abc import Sequence

import torch
from torch import Tensor


def activation_boundary(
    student_stages: Sequence[Tensor], teacher_active: Sequence[Tensor], margin: float = 1.0
) -> Tensor:
    r"""Squared hinge that pushes each pre-activation to the teacher's side, past a margin.

    .. math:: L_{AB} = \frac{1}{L} \sum_l \mathrm{mean}\left[
              1(f^T_l > 0) \, [m - r_l(f^S_l)]_+^2 + 1(f^T_l \le 0) \, [m + r_l(f^S_l)]_+^2 \right]

    Heo et al. 2019, arXiv 1811.03233, the margin form of the activation-boundary loss. Differs from the
    paper in taking the mean over units and stages instead of a weighted sum, so that one weight
    serves networks of any size, and in training together with the logits instead of before them.
    Its use in adversarial training (Qu et al., arXiv 2102.11638) is inferred from the abstract.

    Shapes: for each stage l a pair of equal shape, the adapted student pre-activations r_l(f_S) and a
    boolean tensor 1(f_T > 0) -> (). Range: [0, inf). Reduction: mean over units, then over stages.
    Gradient: the student and its adapters r; booleans carry none back to the teacher.

    >>> active = torch.tensor([[True, False]])
    >>> adapted = torch.tensor([[2.0, 0.0]])  # past the margin: 0; on the boundary: 1
    >>> activation_boundary([adapted], [active]).item()
    0.5
    """
    total = torch.zeros((), device=student_stages[0].device)
    for adapted, active in zip(student_stages, teacher_active, strict=True):
        toward = torch.where(active, adapted, -adapted)
        total = total + (margin - toward).relu().square().mean(
            dtype=torch.promote_types(adapted.dtype, torch.float32)
        )
    return total / len(student_stages)
