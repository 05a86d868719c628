"""Virtual interpolation: convex mixtures of a batch's images and their labels."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from dfad_core.losses.discrepancy import discrepancy


@dataclass(frozen=True)
class Mixing:
    """One draw of partners and shares for a batch."""

    partner_B: Tensor
    """A permutation of 0..B-1 (int64)."""
    share_B: Tensor
    """lambda in [0, 1], the share of each image in its mixture (float32)."""


def mix(values: Tensor, mixing: Mixing) -> Tensor:
    r"""Mix each row with its partner's.

    .. math:: \tilde v_i = \lambda_i v_i + (1 - \lambda_i) v_{\pi(i)}

    Zhang et al. 2018, arXiv 1710.09412, equation 1, as used by Qu et al. 2021, arXiv 2102.11638.
    Differs from both in drawing lambda for each pair instead of once a batch (Qu et al.: inferred).

    Shapes: (B, ...) -> (B, ...), dtype and memory format as before. Gradient: passes to `values`.
    """
    share = mixing.share_B.to(values.dtype).reshape(-1, *[1] * (values.dim() - 1))
    return values[mixing.partner_B].lerp(values, share)  # indexing keeps channels_last, index_select not


def virtual_interpolation(
    student_logits_BK: Tensor,
    virtual_labels_BK: Tensor,
    gap: Callable[[Tensor, Tensor], Tensor] = discrepancy,
) -> Tensor:
    r"""Discrepancy of the student from the labels of the virtual samples.

    .. math:: L_{VI} = \frac{1}{BK} \sum_{b,k} |s_k(\tilde x_b) - \tilde y_{bk}|, \quad
              \tilde y_b = \lambda_b t(x_b) + (1 - \lambda_b) t(x_{\pi(b)})
              \;\text{or}\; \tilde y_b = t(\tilde x_b)

    Qu, Wang, Xiao, ICASSP 2021, arXiv 2102.11638; the form is inferred from the abstract ("virtual
    samples and labels in-between decision boundaries"), so it is not an exact reproduction. Differs
    from it in the second kind of label, the teacher's logits of the mixture itself, and in allowing
    another gap than the mean absolute difference.

    Shapes: two (B, K) tensors -> (). Range: [0, inf). Reduction: mean. Gradient: the student alone.

    >>> import torch
    >>> mixing = Mixing(torch.tensor([1, 0]), torch.tensor([0.75, 0.75]))
    >>> labels = mix(torch.tensor([[4.0], [8.0]]), mixing)
    >>> labels.flatten().tolist()
    [5.0, 7.0]
    >>> virtual_interpolation(torch.tensor([[5.0], [9.0]]), labels).item()
    1.0
    """
    return gap(student_logits_BK, virtual_labels_BK.detach())
