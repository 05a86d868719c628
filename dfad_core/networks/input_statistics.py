"""Range and statistics of the images that a teacher expects: given, read from its graph, or estimated."""

from __future__ import annotations

import dataclasses
import math
from contextlib import suppress

import torch
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.networks.batch_norm import bn_layers
from dfad_core.networks.drawings import LevelSets
from dfad_core.networks.graph_preprocessing import graph_preprocessing
from dfad_core.networks.pixel_range import PixelRange, preprocessed_range, standardised, uniform_range

PROBE_IMAGES = 64
"""Number of level-set images in an estimate; fewer where they are large."""
PROBE_NUMBERS = 2**20
"""Largest number of pixel values in the batch of level sets."""
NEAR_MEAN, NEAR_STD = 0.3, (0.6, 1.6)
"""Estimates within these bounds count as mean 0 and deviation 1, the result of most preprocessing."""
REFINEMENTS = 3
LINEAR = 1e-2
"""Largest deviation from a linear response, in stored deviations."""
LARGEST_ESTIMATE = 1e5
"""Largest plausible estimate; the smallest plausible deviation is its inverse."""
BYTES_FROM = 8.0
"""Least mean and deviation that are read as those of pixels from 0 to 255."""
ONE_CLASS = 0.9
"""Share of level sets in one class from which the range cannot be the teacher's (networks without BN)."""


@torch.no_grad()
def pixel_range(config: InputConfig, teacher: nn.Module) -> PixelRange:
    """Range of the images of `teacher`, a network in eval mode; the same at every call.

    The range follows from the preprocessing in `config`; else from that in the network's own graph; else from
    the statistics of its first batch norm; else from how well the network separates level sets into classes.
    Where a preprocessing gives the range alone (a mean of 0), the batch norm adds mean and deviation.
    """
    preprocessed = None
    if config.mean is not None and config.std is not None:
        preprocessed = preprocessed_range(config.mean, config.std, "given")
    elif (own := graph_preprocessing(teacher, config.shape)) is not None:
        preprocessed = _raw_range(*own)
    if preprocessed is not None and preprocessed.statistics:
        return preprocessed
    probe_BCHW = _probe_images(config.shape).to(next(teacher.parameters()).device)
    estimated = _statistics(teacher, probe_BCHW)
    if preprocessed is not None:
        return preprocessed if estimated is None else _with_statistics(preprocessed, *estimated)
    if estimated is not None:
        return _estimated_range(*estimated, channels=config.shape[0])
    return _by_candidates(teacher, probe_BCHW)


def _with_statistics(preprocessed: PixelRange, mean: float, std: float) -> PixelRange:
    """`preprocessed` with the estimated mean and deviation, where its range allows them."""
    assert preprocessed.low is not None
    assert preprocessed.high is not None
    channels = len(preprocessed.mean)
    possible = max(preprocessed.low) < mean < min(preprocessed.high)
    if not possible or std > min(b - a for a, b in zip(preprocessed.low, preprocessed.high, strict=True)) / 2:
        return preprocessed
    return dataclasses.replace(preprocessed, mean=(mean,) * channels, std=(std,) * channels, statistics=True)


def _raw_range(mean: tuple[float, ...], std: tuple[float, ...]) -> PixelRange | None:
    """Range of the images before a preprocessing in the network; None where it does not determine one."""
    if max(mean) <= 0 and max(std) < BYTES_FROM:  # a small factor alone may be part of any layer
        return None
    inner = preprocessed_range(mean, std, "graph")
    if inner is None or inner.low is None or inner.high is None:
        return None

    def raw(values: tuple[float, ...]) -> tuple[float, ...]:
        return tuple(v * s + m for v, m, s in zip(values, mean, std, strict=True))

    deviations = tuple(v * s for v, s in zip(inner.std, std, strict=True))
    return dataclasses.replace(
        inner, mean=raw(inner.mean), std=deviations, low=raw(inner.low), high=raw(inner.high)
    )


def _probe_images(shape: tuple[int, int, int]) -> Tensor:
    """Level sets of mean 0 and deviation 1 (B, C, H, W), the same at every call."""
    source = LevelSets(shape)
    count = max(8, min(PROBE_IMAGES, PROBE_NUMBERS // math.prod(shape)))
    images: Tensor = source(torch.randn(count, source.latent_dim, generator=torch.Generator().manual_seed(0)))
    return images


def _candidates(channels: int, source: str) -> list[PixelRange]:
    """Candidate ranges, the usual one first: mean 0 and deviation 1, then [0, 1], [-1, 1] and [0, 255]."""
    bounds = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
    ranges = [uniform_range((low,) * channels, (high,) * channels, source) for low, high in bounds]
    return [standardised(channels, source), *ranges]


def _statistics(teacher: nn.Module, probe_BCHW: Tensor) -> tuple[float, float] | None:
    """Mean and deviation of images, from the stored statistics of the first batch norm that they reach.

    The input of that batch norm must be a linear function of the image, as the output of a convolution is.
    The mean is the least-squares solution of: stored mean = response to 0 + mean x response to 1. The
    deviation is the one that gives level sets the stored variance in the median channel. Both are rounded, so
    that another order of sums gives the same result. None without such a batch norm, and for an implausible
    solution.
    """
    layer, mean_C, _ = _first_norm(teacher, probe_BCHW)
    if layer is None:
        return None
    stored_mean_C, stored_var_C = _stored(layer)
    zero_C = _first_norm(teacher, torch.zeros_like(probe_BCHW))[1]
    double_C = _first_norm(teacher, 2 * probe_BCHW)[1]
    if float(((double_C - 2 * mean_C + zero_C).abs() / stored_var_C.sqrt()).max()) > LINEAR:
        return None
    one_C = _first_norm(teacher, torch.ones_like(probe_BCHW))[1]
    constant_C = (one_C - zero_C) / stored_var_C.sqrt()
    target_C = (stored_mean_C - zero_C) / stored_var_C.sqrt()
    mean = float((constant_C * target_C).sum() / constant_C.square().sum().clamp_min(1e-20))
    # Features of a constant image vary at the borders, where zero padding differs from its pixels.
    border_C = _first_norm(teacher, mean + torch.zeros_like(probe_BCHW))[2]
    std = max(1.0, abs(mean) / 2)
    for _ in range(REFINEMENTS):
        probe_C = _first_norm(teacher, mean + std * probe_BCHW)[2] - border_C
        share_C = (stored_var_C - border_C) / probe_C.clamp_min(1e-12)
        std *= math.sqrt(max(float(share_C.median()), 1e-4))
    if not (abs(mean) < LARGEST_ESTIMATE and 1 / LARGEST_ESTIMATE < std < LARGEST_ESTIMATE):
        return None
    return float(f"{mean:.2g}"), float(f"{std:.2g}")


def _estimated_range(mean: float, std: float, channels: int) -> PixelRange:
    """Most likely range of images with these statistics: normalised, raw pixels, or unbounded."""
    if abs(mean) <= NEAR_MEAN and NEAR_STD[0] <= std <= NEAR_STD[1]:
        return standardised(channels, "batch_norm")
    estimated = PixelRange((mean,) * channels, (std,) * channels, source="batch_norm")
    white = 255.0 if min(mean, std) >= BYTES_FROM else 1.0
    if not 0 < mean < white or std > white / 2:
        return estimated
    return dataclasses.replace(estimated, low=(0.0,) * channels, high=(white,) * channels)


def _stored(layer: nn.Module) -> tuple[Tensor, Tensor]:
    """Running mean and variance (C) of a batch norm."""
    assert isinstance(layer.running_mean, Tensor)
    assert isinstance(layer.running_var, Tensor)
    return layer.running_mean.float(), layer.running_var.float().clamp_min(1e-12)


class _Reached(Exception):
    """Signal, not an error: the first batch norm has its input, and the rest of the pass is not needed."""


def _first_norm(teacher: nn.Module, images_BCHW: Tensor) -> tuple[nn.Module | None, Tensor, Tensor]:
    """First batch norm that images reach, and mean and variance (C) of its input."""
    reached: list[tuple[nn.Module, Tensor]] = []

    def record(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        reached.append((layer, inputs[0].detach().float()))
        raise _Reached

    handles = [layer.register_forward_pre_hook(record) for layer in bn_layers(teacher)]
    try:
        with suppress(_Reached):
            teacher(images_BCHW)
    finally:
        for handle in handles:
            handle.remove()
    if not reached:
        return None, torch.empty(0), torch.empty(0)
    layer, features = reached[0]
    over = [d for d in range(features.dim()) if d != 1]
    return layer, features.mean(over), features.var(over, correction=0)


def _by_candidates(teacher: nn.Module, probe_BCHW: Tensor) -> PixelRange:
    """The candidate whose level sets come nearest to the statistics of the first batch norm.

    Without batch norm it is mean 0 and deviation 1, unless nearly all images get one class (`ONE_CLASS`).
    Then it is the candidate with the largest mutual information of image and class, H(mean p) - mean H(p):
    the teacher is sure of each image and uses many classes. That information alone is no reason to leave the
    usual range, since a larger range makes any network surer.
    """
    channels = probe_BCHW.shape[1]
    layer, _, _ = _first_norm(teacher, probe_BCHW)
    if layer is not None:
        return min(_candidates(channels, "batch_norm"), key=lambda c: _distance(teacher, c.place(probe_BCHW)))
    candidates = _candidates(channels, "behaviour")
    classes_B = teacher(candidates[0].place(probe_BCHW)).argmax(1)
    if int(classes_B.bincount().max()) < ONE_CLASS * len(classes_B):
        return candidates[0]
    return max(candidates, key=lambda c: _information(teacher, c.place(probe_BCHW)))


def _distance(teacher: nn.Module, images_BCHW: Tensor) -> float:
    """Distance of the images' statistics from those that the first batch norm stores; 0 where equal."""
    layer, mean_C, var_C = _first_norm(teacher, images_BCHW)
    assert layer is not None
    stored_mean_C, stored_var_C = _stored(layer)
    gaps_C = (mean_C - stored_mean_C).abs() / stored_var_C.sqrt()
    ratios_C = (var_C.clamp_min(1e-12) / stored_var_C).log().abs()
    return float((gaps_C + ratios_C / 2).mean())


def _information(teacher: nn.Module, images_BCHW: Tensor) -> float:
    """Mutual information of image and class, in nats."""
    p_BK = torch.softmax(teacher(images_BCHW).float(), 1)
    return float(_entropy(p_BK.mean(0)) - _entropy(p_BK).mean())


def _entropy(p: Tensor) -> Tensor:
    """Entropy along the last axis, in nats."""
    entropy: Tensor = torch.special.entr(p).sum(-1)
    return entropy
