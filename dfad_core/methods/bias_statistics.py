"""BN statistics of a teacher whose BN was folded, estimated from the biases and from drawn images.

The mean of a folded convolution's output, over the training data, is the shift of its BN: small, and much
alike for all channels of a layer. Drawn images are given shares with which the channels' means come together,
and all classes are equally frequent. The statistics of drawings with these shares are close to those of the
data: for public ResNets on CIFAR-10 the mean divergence from the stored ones is 0.05; with equal shares it is
0.16 to 0.23, for a thousand real images 0.03.

Shapes: B images of a batch, N images, C channels of a layer, K classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dfad_core.methods.image_choice import even_shares
from dfad_core.networks.refolding import unfolded_layers
from dfad_core.networks.unfolding import outputs_of

MOST_IMAGES, LEAST_IMAGES = 2048, 256
MOST_MACS, MOST_PIXELS, MOST_NUMBERS = 6e10, 2e7, 2**26
"""Bounds of passes, drawings and memory, which decide between these numbers of images."""
MOST_AT_ONCE = 128
"""Images in a pass, fewer where they are large: the outputs of all layers are kept until its end."""
CLASSES_WEIGHT = 0.3
"""Weight of the deviation from even classes beside that of the channels' means."""
EVENNESS, STEPS = 3e-3, 400
"""Weight of the divergence from equal shares, and steps towards the shares."""
LEAST_DEVIATION = 0.1
"""Deviations of channels count as this share of their layer's median at least: of a nearly constant channel
the mean may be any."""

Statistics = list[tuple[Tensor, Tensor]]
"""Mean and variance (C,) of the outputs of each unfolded layer."""


def number_of_images(teacher: nn.Module, macs: int, shape: tuple[int, int, int]) -> int:
    """How many drawn images are affordable for a teacher with so many multiply-accumulates an image."""
    channels = sum(layer.out_channels for layer in unfolded_layers(teacher))
    bounds = (
        MOST_IMAGES,
        MOST_MACS / max(1, macs),
        MOST_PIXELS / math.prod(shape),
        MOST_NUMBERS / (2 * channels),
    )
    return max(LEAST_IMAGES, int(min(bounds)))


@torch.no_grad()
def estimated_statistics(teacher: nn.Module, batches: Iterable[Tensor]) -> Statistics:
    """The statistics for each of `unfolded_layers(teacher)`, from batches of images (B, C, H, W).

    Images whose outputs or logits are not finite are left out.
    """
    layers = unfolded_layers(teacher)
    moments: list[list[Tensor]] = [[] for _ in layers]
    answers = []
    for images_BCHW in batches:
        with outputs_of(list(layers)) as outputs:
            answers.append(teacher(images_BCHW).float().softmax(dim=1))
        for layer, parts in zip(layers, moments, strict=True):
            features = outputs[layer].float().flatten(2)
            parts.append(torch.stack([features.mean(2), features.square().mean(2)]))
    shares_NK, classes = torch.cat(answers), answers[0].shape[1]
    whole = [torch.cat(parts, dim=1) for parts in moments]
    finite_N = torch.stack([torch.isfinite(values).all(dim=-1).all(dim=0) for values in whole]).all(dim=0)
    finite_N &= torch.isfinite(shares_NK).all(dim=1)
    shares_NK, whole = shares_NK[finite_N], [values[:, finite_N] for values in whole]
    columns = [CLASSES_WEIGHT * math.sqrt(classes) * (shares_NK - 1 / classes)]
    total = sum(layer.out_channels for layer in layers)
    for means_NC, squares_NC in whole:
        std_C = _variance(means_NC.mean(0), squares_NC.mean(0)).sqrt()
        scale_C = std_C.clamp_min(LEAST_DEVIATION * float(std_C.median())).clamp_min(1e-12)
        columns.append((means_NC - means_NC.mean()) / scale_C / math.sqrt(total))
    shares = torch.from_numpy(even_shares(torch.cat(columns, dim=1), EVENNESS, STEPS)).to(shares_NK)
    return [
        (mean_C := shares @ means_NC, _variance(mean_C, shares @ squares_NC))
        for means_NC, squares_NC in whole
    ]


def _variance(mean_C: Tensor, square_C: Tensor) -> Tensor:
    return (square_C - mean_C.square()).clamp_min(0)
