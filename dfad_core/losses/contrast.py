"""How alike the images of a batch are to each other, in the teacher's eyes."""

import torch
import torch.nn.functional as F
from torch import Tensor


def contrast(features_BF: Tensor, twin_features_BF: Tensor, temperature: float = 0.1) -> Tensor:
    r"""InfoNCE between the features of each image and of its augmented twin, against all other twins.

    .. math:: L_{cr} = -\frac{1}{B} \sum_i \log
              \frac{\exp(\cos(u_i, v_i) / \tau)}{\sum_j \exp(\cos(u_i, v_j) / \tau)}

    Fang et al. 2021 (CMI), arXiv 2105.08584, the contrastive loss: low where every image can be told from the
    others. Differs from the paper in its negatives (the batch alone, no memory bank) and in having no
    learned projection head.

    Shapes: two (B, F) tensors -> (). Range: [0, inf). Reduction: mean over the batch, in float32 or finer.
    Gradient: the images, through both features.
    """
    u = features_BF if features_BF.dtype.itemsize >= 4 else features_BF.float()
    v = twin_features_BF.to(u.dtype)
    with torch.autocast(u.device.type, enabled=False):  # bfloat16 is too coarse for cosines over 0.1
        likeness_BB = F.normalize(u, dim=1) @ F.normalize(v, dim=1).T / temperature
    return F.cross_entropy(likeness_BB, torch.arange(len(u), device=u.device))
