"""How far a batch is from showing all classes equally."""

import math

from torch import Tensor


def class_entropy(teacher_logits_BK: Tensor) -> Tensor:
    r"""Entropy that the batch's mean class distribution lacks.

    .. math:: L_H = \log K + \sum_k \bar p_k \log \bar p_k, \quad
              \bar p = \frac{1}{B} \sum_b \mathrm{softmax}(t(x_b))

    Chen et al. 2019 (DAFL), arXiv 1904.01186, the information-entropy loss. Differs from the paper in
    the constant log K, which makes it an unsigned gap: 0 where all classes are equally frequent.

    Shapes: (B, K) -> (). Range: [0, log K]. Reduction: over the batch inside the entropy, in float32 or
    finer. Gradient: the generator, through the teacher's logits.
    """
    logits = teacher_logits_BK if teacher_logits_BK.dtype.itemsize >= 4 else teacher_logits_BK.float()
    batch, classes = logits.shape
    # In log space, so that a class whose probability underflows still has a finite gradient.
    log_mean_K = logits.log_softmax(dim=1).logsumexp(dim=0) - math.log(batch)
    return math.log(classes) + (log_mean_K.exp() * log_mean_K).sum()
