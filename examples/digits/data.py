"""scikit-learn's 8x8 digits, split once and for all. Only the scoring and the teacher use them."""

from __future__ import annotations

import torch
from torch import Tensor

MEAN, STD = 4.8908, 6.0168
"""Of the training part's pixels (0 to 16); the teacher's input is (pixel - MEAN) / STD."""
SHAPE = (1, 8, 8)
SPLIT_SEED = 0


def digits() -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """((x, y) to train a teacher on, (x, y) held out): two thirds and one third; x is (B, 1, 8, 8)."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = ((torch.tensor(bunch.images, dtype=torch.float32) - MEAN) / STD).unsqueeze(1)
    y = torch.tensor(bunch.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(SPLIT_SEED))
    held_out = len(y) // 3
    test, train = order[:held_out], order[held_out:]
    return (x[train], y[train]), (x[test], y[test])
