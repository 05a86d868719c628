"""Exchange of channels between images inside a generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn


@contextmanager
def exchanging_features(generator: nn.Module, rng: np.random.Generator) -> Iterator[None]:
    """Within the block, half of the channels after one inner BN layer come from another image of the batch.

    Yu et al. 2023, CVPR (SpaceshipNet): channel-wise feature exchange. Differs from the paper in using one
    layer for each pass, chosen at random, and in exchanging exactly half of its channels. A generator without
    such layers does not change.
    """
    layers = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d) and m.affine]
    if not layers:
        yield
        return
    layer = layers[int(rng.integers(len(layers)))]
    seed = int(rng.integers(2**62))

    def exchange(_layer: nn.Module, _inputs: tuple[Tensor, ...], features_BCHW: Tensor) -> Tensor:
        draw = np.random.default_rng(seed)
        batch, channels = features_BCHW.shape[:2]
        partner_B = torch.from_numpy(draw.permutation(batch)).to(features_BCHW.device)
        mask = np.zeros(channels, dtype=bool)
        mask[draw.permutation(channels)[: channels // 2]] = True
        mask_C11 = torch.from_numpy(mask).to(features_BCHW.device).reshape(-1, 1, 1)
        return torch.where(mask_C11, features_BCHW[partner_B], features_BCHW)

    handle = layer.register_forward_hook(exchange)
    try:
        yield
    finally:
        handle.remove()
