"""How far the teacher is from being sure of one class."""

import torch.nn.functional as F
from torch import Tensor


def one_hot(teacher_logits_BK: Tensor, wanted_B: Tensor | None = None) -> Tensor:
    r"""Cross-entropy of the teacher's probabilities with their own largest class.

    .. math:: L_{OH} = -\frac{1}{B} \sum_b \log \max_k \mathrm{softmax}(t(x_b))_k

    Chen et al. 2019 (DAFL), arXiv 1904.01186, the one-hot loss. Differs from the paper in nothing known.

    With `wanted_B` those classes take the place of the largest ones, as in the methods that ask for
    an image of a given class (DeepInversion, CMI, FastDFKD, NAYER); the range then has no upper end.

    Shapes: (B, K) and (B,) int64 -> (). Range: [0, log K]. Reduction: mean over the batch, in float32 or
    finer. Gradient: the generator, through the teacher's logits; the chosen class is a constant.
    """
    logits = teacher_logits_BK if teacher_logits_BK.dtype.itemsize >= 4 else teacher_logits_BK.float()
    return F.cross_entropy(logits, logits.detach().argmax(dim=1) if wanted_B is None else wanted_B)
