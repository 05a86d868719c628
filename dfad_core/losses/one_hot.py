"""One-hot loss: cross-entropy of the teacher's logits with one class for each image."""

import torch.nn.functional as F
from torch import Tensor

from dfad_core.losses.precision import full_precision


def one_hot(teacher_logits_BK: Tensor, classes_B: Tensor | None = None) -> Tensor:
    r"""Cross-entropy of the teacher's probabilities with their own largest class.

    .. math:: L_{OH} = -\frac{1}{B} \sum_b \log \max_k \mathrm{softmax}(t(x_b))_k

    Chen et al. 2019 (DAFL), arXiv 1904.01186, the one-hot loss. Differs from the paper in nothing known.

    With `classes_B` these classes replace the largest ones, as in methods that request a class for each
    image (DeepInversion, CMI, FastDFKD, NAYER); the range then has no upper end.

    Shapes: (B, K) and (B,) int64 -> (). Range: [0, log K]. Reduction: mean over the batch, in float32 or
    finer. Gradient: the generator, through the teacher's logits; the class is a constant.

    >>> import torch
    >>> logits = torch.tensor([[9.0, 0.0]])
    >>> one_hot(logits) < one_hot(logits, torch.tensor([1]))
    tensor(True)
    """
    logits = full_precision(teacher_logits_BK)
    return F.cross_entropy(logits, logits.detach().argmax(dim=1) if classes_B is None else classes_B)
