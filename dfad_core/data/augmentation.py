"""Augmentations of synthetic images; crops let gradients through.

Suffixes of tensors: B images, C channels, H height, W width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def random_resized_crop(
    images_BCHW: Tensor, area: tuple[float, float] = (0.25, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)
) -> Tensor:
    """A random part of each image, resized to full size and mirrored half of the time: float32 (B, C, H, W).

    `area` bounds the part's share of the image, `ratio` its width over its height (on a logarithmic scale);
    parts are cut to the image where they exceed it. Bilinear; draws from torch's own stream of the device.
    """
    batch, device = len(images_BCHW), images_BCHW.device
    area_B, ratio_B, x_B, y_B, mirror_B = torch.rand(5, batch, device=device)
    area_B = area[0] + (area[1] - area[0]) * area_B
    ratio_B = ratio[0] * (ratio[1] / ratio[0]) ** ratio_B
    width_B, height_B = (area_B * ratio_B).sqrt().clamp(max=1), (area_B / ratio_B).sqrt().clamp(max=1)
    # Coordinates run from -1 to 1: the part's scale is its share of the side, its offset that of its centre.
    theta_B23 = torch.zeros(batch, 2, 3, device=device)
    theta_B23[:, 0, 0] = torch.where(mirror_B < 0.5, width_B, -width_B)
    theta_B23[:, 0, 2] = (2 * x_B - 1) * (1 - width_B)
    theta_B23[:, 1, 1] = height_B
    theta_B23[:, 1, 2] = (2 * y_B - 1) * (1 - height_B)
    return _sampled(images_BCHW, theta_B23, "bilinear")


def shifted(images_BCHW: Tensor) -> Tensor:
    """Each image shifted by up to an eighth of its side, and mirrored half of the time: float32 (B, C, H, W).

    By whole pixels; what comes in has the colour of the border. For 32 pixels these are the usual crops after
    padding by 4, but for the padding. Draws from torch's own stream of the device.
    """
    batch, device = len(images_BCHW), images_BCHW.device
    theta_B23 = torch.zeros(batch, 2, 3, device=device)
    theta_B23[:, 0, 0] = torch.where(torch.rand(batch, device=device) < 0.5, 1.0, -1.0)
    theta_B23[:, 1, 1] = 1
    for axis, side in enumerate((images_BCHW.shape[3], images_BCHW.shape[2])):
        most = side // 8
        theta_B23[:, axis, 2] = torch.randint(-most, most + 1, (batch,), device=device) * (2 / side)
    return _sampled(images_BCHW, theta_B23, "nearest")


def _sampled(images_BCHW: Tensor, theta_B23: Tensor, mode: str) -> Tensor:
    """The images at coordinates that an affine map of each takes from those of the result."""
    with torch.autocast(images_BCHW.device.type, enabled=False):
        grid_BHW2 = F.affine_grid(theta_B23, list(images_BCHW.shape), align_corners=False)
        return F.grid_sample(
            images_BCHW.float(), grid_BHW2, mode=mode, padding_mode="border", align_corners=False
        )


def mixed_pairs(images_BCHW: Tensor, share: float) -> Tensor:
    """The batch with a share of its images, the first ones, mixed with others of it: float32 (B, C, H, W).

    Half of the mixtures are convex (mixup, Zhang et al. 2018, arXiv 1710.09412), half have a window of the
    partner (CutMix, Yun et al. 2019, arXiv 1905.04899). Labels must be asked anew. Draws from torch's own
    stream of the device.
    """
    count, device = int(share * len(images_BCHW)), images_BCHW.device
    images_BCHW = images_BCHW.float()
    if count == 0:
        return images_BCHW
    height, width = images_BCHW.shape[2:]
    own_BCHW, partner_BCHW = (
        images_BCHW[:count],
        images_BCHW[torch.randperm(len(images_BCHW), device=device)[:count]],
    )
    random_B111 = torch.rand(6, count, 1, 1, 1, device=device)
    x = (torch.arange(width, device=device) + 0.5) / width
    y = ((torch.arange(height, device=device) + 0.5) / height)[:, None]
    half_width, half_height = 0.1 + 0.4 * random_B111[0], 0.1 + 0.4 * random_B111[1]
    window = ((x - random_B111[2]).abs() < half_width) & ((y - random_B111[3]).abs() < half_height)
    weight = torch.where(random_B111[4] < 0.5, window.float(), random_B111[5])
    return torch.cat([torch.lerp(own_BCHW, partner_BCHW, weight), images_BCHW[count:]])
