"""Which of many drawn images the student trains on, and how often each.

Each image of the pool gets a share. The shares are as equal as possible while the statistics of the images,
weighted with them, come close to those of the teacher's data: mean and mean square of the inputs of its BN
layers, which are stored there, and all classes equally often. This is a projection by Kullback-Leibler
divergence, as the raking of surveys is (Deming and Stephan 1940). No gradient passes through the teacher.

Shapes: B images of a batch, N images of the pool, D statistics of an image, K classes, C channels of a layer.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager

import numpy as np
import torch
from torch import Tensor, nn

from dfad_core.data.random_streams import seeded
from dfad_core.methods.terms.layer_inputs import LayerInputs
from dfad_core.networks.batch_norm import bn_layers

PROJECTED = 256
"""Numbers that the statistics of all BN layers are projected to (Johnson and Lindenstrauss): networks have up
to 100,000 of them, and only their weighted sums count. The same for the shares of more classes than that."""
CLASSES_WEIGHT = 1.0
"""Weight of the deviation from even classes beside that of the BN layers."""
EVENNESS = 0.05
"""Weight of the divergence from equal shares."""
STEPS, RATE = 100, 0.2
"""Steps of Adam on the logarithms of the shares, and its rate."""


class ImageChoice:
    """Statistics of images, and the shares that follow from them."""

    def __init__(self, teacher: nn.Module, num_classes: int) -> None:
        self._classes = num_classes
        self._inputs = LayerInputs(teacher, bn_layers(teacher), lambda layer, x: (_moments(layer, x),))
        self._projections: list[Tensor] = []
        self._of_classes: list[Tensor] = []

    def recording(self) -> AbstractContextManager[None]:
        """Record the next forward pass of the teacher, for `statistics`."""
        return self._inputs.recording()

    @torch.no_grad()
    def statistics(self, logits_BK: Tensor) -> Tensor:
        """(B, D), float32: how each image deviates from the data, from the recorded pass and its logits."""
        shares_BK = logits_BK.float().softmax(dim=1)
        classes = CLASSES_WEIGHT * math.sqrt(self._classes) * (shares_BK - 1 / self._classes)
        if self._classes > PROJECTED:
            if not self._of_classes:
                self._of_classes = _projection_of([classes], scale=1 / math.sqrt(PROJECTED))
            classes = classes @ self._of_classes[0]
        parts = [classes]
        if moments := [values for (values,) in self._inputs.take()]:
            if not self._projections:
                self._projections = _projection_of(moments)
            projected = [m @ p for m, p in zip(moments, self._projections, strict=True)]
            parts.append(torch.stack(projected).sum(0))
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def shares(self, statistics_ND: Tensor) -> np.ndarray:
        """The images' shares (N,), of sum 1: argmin |p A|^2 + EVENNESS * KL(p || equal).

        An image whose statistics are not finite has no share; if none has finite ones, all have equal shares.
        """
        finite_N = torch.isfinite(statistics_ND).all(dim=1).cpu().numpy()
        if not finite_N.any():
            return np.full(len(finite_N), 1 / len(finite_N))
        shares = np.zeros(len(finite_N))
        shares[finite_N] = even_shares(statistics_ND[torch.from_numpy(finite_N).to(statistics_ND.device)])
        total: np.ndarray = shares / shares.sum()
        return total


def even_shares(statistics_ND: Tensor, evenness: float = EVENNESS, steps: int = STEPS) -> np.ndarray:
    """Shares (N,), of sum 1, with which the weighted sum of finite statistics comes near to 0."""
    count = len(statistics_ND)
    logits_N = torch.zeros(count, device=statistics_ND.device)
    optimizer = torch.optim.Adam([logits_N], RATE)
    for _ in range(steps):
        shares_N = logits_N.softmax(0)
        # The gradient of the objective by the shares, and by their logits.
        by_shares_N = 2 * (statistics_ND @ (shares_N @ statistics_ND))
        by_shares_N += evenness * (shares_N * count).clamp_min(1e-30).log()
        logits_N.grad = shares_N * (by_shares_N - (shares_N * by_shares_N).sum())
        optimizer.step()
    shares: np.ndarray = logits_N.softmax(0).double().cpu().numpy()
    return shares


def _moments(layer: nn.Module, inputs: Tensor) -> Tensor:
    """(B, 2 C): mean and mean square of each channel, less the running ones, in units of the latter."""
    features = inputs.float().flatten(2) if inputs.dim() > 2 else inputs.float()[..., None]
    mean_C, var_C = layer.running_mean, layer.running_var
    assert isinstance(mean_C, Tensor)
    assert isinstance(var_C, Tensor)
    square_C = var_C + mean_C.square()
    scale_C = var_C.clamp_min(1e-8)
    means = (features.mean(2) - mean_C) / scale_C.sqrt()
    squares = (features.square().mean(2) - square_C) / square_C.clamp_min(1e-8)
    return torch.cat([means, squares], dim=1)


def _projection_of(moments: list[Tensor], scale: float | None = None) -> list[Tensor]:
    """For each layer a random matrix (2 C, PROJECTED), the same in every run.

    `scale`: deviation of its entries; None: with it all layers count alike, as a mean over their numbers.
    """
    device = moments[0].device
    with seeded(0, device):
        total = sum(m.shape[1] for m in moments)
        scale = scale or 1 / math.sqrt(total * PROJECTED)
        return [scale * torch.randn(m.shape[1], PROJECTED, device="cpu").to(device) for m in moments]
