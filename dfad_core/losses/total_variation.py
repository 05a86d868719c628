"""Total variation: roughness of a batch of images."""

from torch import Tensor

from dfad_core.losses.precision import full_precision


def total_variation(images_BCHW: Tensor) -> Tensor:
    r"""Norms of the differences between neighbouring pixels in four directions, as an image prior.

    .. math:: R_{TV} = \sum_{d \in \{(0,1), (1,0), (1,1), (1,-1)\}} \| x - \mathrm{shift}_d(x) \|_2

    Yin et al. 2020, arXiv 1912.08795, section 3.1 (after Mahendran and Vedaldi 2015). Differs from the
    paper in nothing known; the norm runs over the whole batch, as in its public code.

    Shapes: (B, C, H, W) -> (). Range: [0, inf). Reduction: Euclidean norm over everything, sum over the
    four directions, in float32 or finer. Gradient: the images.

    >>> import torch
    >>> total_variation(torch.zeros(1, 1, 4, 4)) < total_variation(torch.eye(4).reshape(1, 1, 4, 4))
    tensor(True)
    """
    x = full_precision(images_BCHW)
    pairs = (
        (x[..., :, 1:], x[..., :, :-1]),
        (x[..., 1:, :], x[..., :-1, :]),
        (x[..., 1:, 1:], x[..., :-1, :-1]),
        (x[..., 1:, :-1], x[..., :-1, 1:]),
    )
    total = x.new_zeros(())
    for here, there in pairs:
        # The square root has no finite slope at 0, where the images are flat.
        total = total + ((here - there).square().sum() + 1e-12).sqrt()
    return total
