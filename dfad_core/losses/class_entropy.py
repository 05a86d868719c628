"""Class balance of a batch: the gap of its class entropy from the maximum."""

import math

from torch import Tensor

from dfad_core.losses.precision import full_precision


def class_entropy(teacher_logits_BK: Tensor) -> Tensor:
    r"""Difference of log K and the entropy of the batch's mean class distribution.

    .. math:: L_H = \log K + \sum_k \bar p_k \log \bar p_k, \quad
              \bar p = \frac{1}{B} \sum_b \mathrm{softmax}(t(x_b))

    Chen et al. 2019 (DAFL), arXiv 1904.01186, the information-entropy loss. Differs from the paper in
    the constant log K, which makes it an unsigned gap: 0 where all classes are equally frequent.

    Shapes: (B, K) -> (). Range: [0, log K]. Reduction: over the batch inside the entropy, in float32 or
    finer. Gradient: the generator, through the teacher's logits.

    >>> import torch
    >>> one_class = torch.tensor([[9.0, 0.0], [9.0, 0.0]])
    >>> both_classes = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    >>> class_entropy(both_classes) < class_entropy(one_class)
    tensor(True)
    """
    logits = full_precision(teacher_logits_BK)
    batch, classes = logits.shape
    # In log space, so that a class whose probability underflows still has a finite gradient.
    log_mean_K = logits.log_softmax(dim=1).logsumexp(dim=0) - math.log(batch)
    return math.log(classes) + (log_mean_K.exp() * log_mean_K).sum()
