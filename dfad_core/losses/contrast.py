"""Contrastive loss: similarity of the images of a batch in the teacher's features."""

import torch
import torch.nn.functional as F
from torch import Tensor

from dfad_core.losses.precision import full_precision


def contrast(features_BF: Tensor, second_view_BF: Tensor, temperature: float = 0.1) -> Tensor:
    r"""InfoNCE of two views of each image, with the batch's other images as negatives.

    .. math:: L_{cr} = -\frac{1}{B} \sum_i \log
              \frac{\exp(\cos(u_i, v_i) / \tau)}{\sum_j \exp(\cos(u_i, v_j) / \tau)}

    Fang et al. 2021 (CMI), arXiv 2105.08584, the contrastive loss: low where every image differs
    from the others. Differs from the paper in its negatives (the batch alone, no memory bank) and in having
    no learned projection head.

    Shapes: two (B, F) tensors -> (). Range: [0, inf). Reduction: mean over the batch, in float32 or finer.
    Gradient: the images, through both features.

    >>> features = torch.eye(3)
    >>> contrast(features, features) < contrast(features, features.roll(1, 0))
    tensor(True)
    """
    u = full_precision(features_BF)
    v = second_view_BF.to(u.dtype)
    with torch.autocast(u.device.type, enabled=False):  # bfloat16 is too coarse for cosines over 0.1
        similarity_BB = F.normalize(u, dim=1) @ F.normalize(v, dim=1).T / temperature
    return F.cross_entropy(similarity_BB, torch.arange(len(u), device=u.device))
