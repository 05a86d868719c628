"""Size of the features that enter the teacher's classifier."""

from torch import Tensor

from dfad_core.losses.precision import full_precision


def feature_norm(features_BF: Tensor) -> Tensor:
    r"""Mean absolute value of the features that enter the teacher's classifier.

    .. math:: L_a = \frac{1}{BF} \sum_{b,f} |f_T(x_b)_f|

    Chen et al. 2019 (DAFL), arXiv 1904.01186, equation 5 (the activation loss; its generator maximises
    it). Differs from the paper in the mean over features instead of their sum, as in its public code.

    Shapes: (B, F) -> (). Range: [0, inf). Reduction: mean, in float32 or finer. Gradient: the generator.

    >>> import torch
    >>> feature_norm(torch.tensor([[1.0, -3.0]])).item()
    2.0
    """
    features = full_precision(features_BF)
    return features.abs().mean()
