"""How far the teacher is from being sure of one class."""

import torch.nn.functional as F
from torch import Tensor


def one_hot(teacher_logits_BK: Tensor) -> Tensor:
    r"""Cross-entropy of the teacher's probabilities with their own largest class.

    .. math:: L_{OH} = -\frac{1}{B} \sum_b \log \max_k \mathrm{softmax}(t(x_b))_k

    Chen et al. 2019 (DAFL), arXiv 1904.01186, the one-hot loss. Differs from the paper in nothing known.

    Shapes: (B, K) -> (). Range: [0, log K]. Reduction: mean over the batch, in float32 or finer.
    Gradient: the generator, through the teacher's logits; the chosen class is a constant.
    """
    logits = teacher_logits_BK if teacher_logits_BK.dtype.itemsize >= 4 else teacher_logits_BK.float()
    return F.cross_entropy(logits, logits.detach().argmax(dim=1))
