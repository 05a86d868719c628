"""Training of a benchmark's teacher on labelled data, within minutes."""

from __future__ import annotations

import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dfad_core.training.runtime import computes_bfloat16

LABEL_SMOOTHING = 0.1
WEIGHT_DECAY = 5e-4
WARM_UP = 0.25
"""Share of the steps in which the rate climbs."""
CROP_PADDING = 4


@dataclass(frozen=True)
class Recipe:
    """One-cycle SGD (Smith and Topin 2018, arXiv 1708.07120) with label smoothing, crops and mirrors."""

    epochs: int = 30
    batch_size: int = 512
    peak_rate: float = 0.4
    mirror: bool = True
    seed: int = 0


def train(
    module: nn.Module, images_BCHW: Tensor, labels_B: Tensor, recipe: Recipe, device: torch.device
) -> nn.Module:
    """Train `module` in place on normalised images; return it in eval mode, on `device`.

    Images stay on the device for the whole training; crops and mirrors are drawn there for whole batches.
    """
    stream = torch.Generator(device).manual_seed(recipe.seed)
    x = images_BCHW.to(device, memory_format=torch.channels_last)
    y = labels_B.to(device)
    module.to(device=device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        module.parameters(),
        recipe.peak_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=WEIGHT_DECAY,
        fused=True,
    )
    size = min(recipe.batch_size, len(x))
    batches = len(x) // size
    steps = recipe.epochs * batches
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=computes_bfloat16(device))
    for step in range(steps):
        if step % batches == 0:
            order = torch.randperm(len(x), generator=stream, device=device)
        for group in optimizer.param_groups:
            group["lr"] = recipe.peak_rate * one_cycle((step + 1) / steps)
        chosen = order[(step % batches) * size :][:size]
        with autocast:
            logits_BK = module(augmented(x[chosen], stream, mirror=recipe.mirror))
        loss = F.cross_entropy(logits_BK.float(), y[chosen], label_smoothing=LABEL_SMOOTHING)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return module.eval()


def one_cycle(fraction: float) -> float:
    """The rate as a share of its peak: linearly up, then down a half cosine to 0."""
    if fraction < WARM_UP:
        return fraction / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (fraction - WARM_UP) / (1 - WARM_UP)))


def augmented(images_BCHW: Tensor, stream: torch.Generator, *, mirror: bool) -> Tensor:
    """Each image shifted by up to `CROP_PADDING` pixels (mirrored edges), half of them mirrored."""
    batch, _, height, width = images_BCHW.shape
    device = images_BCHW.device
    pad = min(CROP_PADDING, height - 1, width - 1)

    def places(side: int) -> Tensor:
        shift_B1 = torch.randint(0, 2 * pad + 1, (batch, 1), generator=stream, device=device)
        return torch.arange(side, device=device) + shift_B1

    rows_BH, columns_BW = places(height), places(width)
    if mirror:
        flip_B1 = torch.rand(batch, 1, generator=stream, device=device) < 0.5
        columns_BW = torch.where(flip_B1, columns_BW.flip(1), columns_BW)
    padded = F.pad(images_BCHW, (pad,) * 4, mode="reflect")
    each_B = torch.arange(batch, device=device)[:, None, None]
    taken_BHWC = padded.permute(0, 2, 3, 1)[each_B, rows_BH[:, :, None], columns_BW[:, None, :]]
    return taken_BHWC.permute(0, 3, 1, 2)


def save(module: nn.Module, path: Path) -> None:
    """Write the state dict whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        torch.save({k: v.cpu().contiguous() for k, v in module.state_dict().items()}, file)
    os.replace(name, path)
