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

IMAGES = 64
"""Drawn images of an estimate, fewer where they are large."""
NUMBERS = 2**20
"""In one batch of them."""
NEAR_MEAN, NEAR_STD = 0.3, (0.6, 1.6)
"""Estimates within these are taken as mean 0 and deviation 1, which most preprocessing makes."""
REFINEMENTS = 3
LINEAR = 1e-2
"""Deviation from a linear response, in stored deviations."""
LARGEST = 1e5
"""Of an estimate that is believed; a deviation is at least its inverse."""
BYTES_FROM = 8.0
"""Estimated mean and deviation from here on are those of pixels from 0 to 255."""
ONE_CLASS = 0.9
"""Share of drawn images in one class from which a range without batch norm is not the teacher's."""


@torch.no_grad()
def pixel_range(config: InputConfig, teacher: nn.Module) -> PixelRange:
    """The range of images of `teacher`, a network in eval mode; the same at every call.

    By the preprocessing that `config` names; else by that of the network's own graph; else by the
    statistics of its first batch norm; else by how well it tells classes of drawn images apart. Where a
    preprocessing gives the range alone (a mean of 0), the batch norm adds mean and deviation.
    """
    known = None
    if config.mean is not None and config.std is not None:
        known = preprocessed_range(config.mean, config.std, "given")
    elif (inside := graph_preprocessing(teacher, config.shape)) is not None:
        known = _raw_range(*inside)
    if known is not None and known.statistics:
        return known
    drawn_BCHW = _drawn(config.shape).to(next(teacher.parameters()).device)
    estimated = _statistics(teacher, drawn_BCHW)
    if known is not None:
        return known if estimated is None else _with_statistics(known, *estimated)
    if estimated is not None:
        return _estimated_range(*estimated, channels=config.shape[0])
    return _by_candidates(teacher, drawn_BCHW)


def _with_statistics(known: PixelRange, mean: float, std: float) -> PixelRange:
    """`known` with the estimated mean and deviation, where these are possible in it."""
    assert known.low is not None
    assert known.high is not None
    channels = len(known.mean)
    possible = max(known.low) < mean < min(known.high)
    if not possible or std > min(b - a for a, b in zip(known.low, known.high, strict=True)) / 2:
        return known
    return dataclasses.replace(known, mean=(mean,) * channels, std=(std,) * channels, statistics=True)


def _raw_range(mean: tuple[float, ...], std: tuple[float, ...]) -> PixelRange | None:
    """The range before a preprocessing inside the network; None where it does not tell the range."""
    if max(mean) <= 0 and max(std) < BYTES_FROM:  # a small factor alone says nothing
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


def _drawn(shape: tuple[int, int, int]) -> Tensor:
    """Level sets of mean 0 and deviation 1 (B, C, H, W), the same at every call."""
    source = LevelSets(shape)
    count = max(8, min(IMAGES, NUMBERS // math.prod(shape)))
    images: Tensor = source(torch.randn(count, source.latent_dim, generator=torch.Generator().manual_seed(0)))
    return images


def _candidates(channels: int, source: str) -> list[PixelRange]:
    """The usual one first: mean 0 and deviation 1, then [0, 1], [-1, 1] and [0, 255]."""
    bounds = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0))
    ranges = [uniform_range((low,) * channels, (high,) * channels, source) for low, high in bounds]
    return [standardised(channels, source), *ranges]


def _statistics(teacher: nn.Module, drawn_BCHW: Tensor) -> tuple[float, float] | None:
    """Mean and deviation of images, from the stored statistics of the first batch norm that they reach.

    Its input must be a linear function of the image, as that of a convolution is. The mean is the
    least-squares solution of: stored mean = response to 0 + mean x response to 1; the deviation gives drawn
    images the stored variance in the median channel. Both rounded, so that another order of sums gives
    the same. None without such a batch norm, and where the solution is no possible image.
    """
    layer, mean_C, _ = _first_norm(teacher, drawn_BCHW)
    if layer is None:
        return None
    stored_mean_C, stored_var_C = _stored(layer)
    zero_C = _first_norm(teacher, torch.zeros_like(drawn_BCHW))[1]
    double_C = _first_norm(teacher, 2 * drawn_BCHW)[1]
    if float(((double_C - 2 * mean_C + zero_C).abs() / stored_var_C.sqrt()).max()) > LINEAR:
        return None
    one_C = _first_norm(teacher, torch.ones_like(drawn_BCHW))[1]
    constant_C = (one_C - zero_C) / stored_var_C.sqrt()
    wanted_C = (stored_mean_C - zero_C) / stored_var_C.sqrt()
    mean = float((constant_C * wanted_C).sum() / constant_C.square().sum().clamp_min(1e-20))
    # A constant image has a variance of its own there, at the borders: padding is 0, its pixels are not.
    border_C = _first_norm(teacher, mean + torch.zeros_like(drawn_BCHW))[2]
    std = max(1.0, abs(mean) / 2)
    for _ in range(REFINEMENTS):
        drawn_C = _first_norm(teacher, mean + std * drawn_BCHW)[2] - border_C
        share_C = (stored_var_C - border_C) / drawn_C.clamp_min(1e-12)
        std *= math.sqrt(max(float(share_C.median()), 1e-4))
    if not (abs(mean) < LARGEST and 1 / LARGEST < std < LARGEST):
        return None
    return float(f"{mean:.2g}"), float(f"{std:.2g}")


def _estimated_range(mean: float, std: float, channels: int) -> PixelRange:
    """What images with these statistics most likely are: normalised, raw pixels, or placed by these alone."""
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
    """No error: the first batch norm has its input, and the rest of the pass is not needed."""


def _first_norm(teacher: nn.Module, images_BCHW: Tensor) -> tuple[nn.Module | None, Tensor, Tensor]:
    """The batch norm that images reach first, and mean and variance (C) of its input."""
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


def _by_candidates(teacher: nn.Module, drawn_BCHW: Tensor) -> PixelRange:
    """The candidate whose drawn images come nearest to the statistics of the first batch norm.

    Without batch norm, mean 0 and deviation 1, unless nearly all such images get one class (`ONE_CLASS`):
    then the candidate by which the teacher tells most, sure of single images and of many classes in all,
    which is the mutual information of image and class, H(mean p) - mean H(p). It is no reason by itself to
    leave the usual range: in a larger one a network is surer.
    """
    channels = drawn_BCHW.shape[1]
    layer, _, _ = _first_norm(teacher, drawn_BCHW)
    if layer is not None:
        return min(_candidates(channels, "batch_norm"), key=lambda c: _distance(teacher, c.place(drawn_BCHW)))
    candidates = _candidates(channels, "behaviour")
    classes_B = teacher(candidates[0].place(drawn_BCHW)).argmax(1)
    if int(classes_B.bincount().max()) < ONE_CLASS * len(classes_B):
        return candidates[0]
    return max(candidates, key=lambda c: _information(teacher, c.place(drawn_BCHW)))


def _distance(teacher: nn.Module, images_BCHW: Tensor) -> float:
    """Of images' statistics from those that the first batch norm stores; 0 where they are equal."""
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
    """Along the last axis, in nats."""
    entropy: Tensor = torch.special.entr(p).sum(-1)
    return entropy
