"""Diversity of a batch of synthetic images."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def class_entropy_of(teacher_logits_NK: Tensor) -> float:
    """Entropy of the histogram of the teacher's classes, as a share of the largest possible: 0 to 1."""
    count, classes = teacher_logits_NK.shape
    share_K = torch.bincount(teacher_logits_NK.argmax(dim=1), minlength=classes).double() / count
    entropy = float(-torch.special.xlogy(share_K, share_K).sum().item())
    return max(0.0, entropy) / math.log(min(count, classes))


def sample_distance(images_BCHW: Tensor) -> float:
    """Mean over neighbouring pairs of the root mean square difference of their values; 0 and more."""
    images = images_BCHW.float()
    gap_B = (images - images.roll(1, dims=0)).square().mean(dim=(1, 2, 3)).sqrt()
    return float(gap_B.mean().item())
