"""How strongly a batch excites the teacher's last features."""

from torch import Tensor


def feature_norm(features_BF: Tensor) -> Tensor:
    r"""Mean absolute value of the features that enter the teacher's classifier.

    .. math:: L_a = \frac{1}{BF} \sum_{b,f} |f_T(x_b)_f|

    Chen et al. 2019 (DAFL), arXiv 1904.01186, equation 5 (the activation loss; its generator maximises
    it). Differs from the paper in the mean over features instead of their sum, as in its public code.

    Shapes: (B, F) -> (). Range: [0, inf). Reduction: mean, in float32 or finer. Gradient: the generator.
    """
    features = features_BF if features_BF.dtype.itemsize >= 4 else features_BF.float()
    return features.abs().mean()
