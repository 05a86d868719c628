"""Fidelity: how far the student answers as the teacher does, on inputs it was never trained on.

Without data this is all that can be measured. It is not accuracy and must not be called so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from dfad_core.losses import discrepancy, divergence

Shape = tuple[int, int, int]


@torch.no_grad()
def fidelity(
    teacher: nn.Module,
    student: nn.Module,
    *,
    shape: Shape,
    generator: nn.Module | None = None,
    latent_dim: int = 0,
    seed: int = 0,
    num_images: int = 1024,
    batch_size: int = 256,
) -> dict[str, float]:
    """Compare two networks in eval mode on inputs drawn from `seed`, source by source.

    Sources: `generator` (if one is given; left in the mode it is in), `noise` (N(0, 1) pixels) and
    `procedural` (gratings and blobs), all in the normalised space of the teacher. For each source three
    figures: `agreement_<source>` (share of equal largest classes, 0 to 1), `divergence_<source>`
    (Kullback-Leibler divergence, student from teacher, nats) and `logit_gap_<source>` (mean absolute
    difference of the logits). All arithmetic in float32.
    """
    device = next(teacher.parameters()).device
    stream = torch.Generator(device).manual_seed(seed)
    makers: dict[str, Callable[[int], Tensor]] = {
        "noise": lambda n: torch.randn(n, *shape, generator=stream, device=device),
        "procedural": lambda n: procedural(n, shape, stream),
    }
    if generator is not None:
        made = generator
        makers["generator"] = lambda n: made(torch.randn(n, latent_dim, generator=stream, device=device))
    modes = teacher.training, student.training
    teacher.eval()
    student.eval()
    found: dict[str, float] = {}
    for source in sorted(makers):
        totals = torch.zeros(3, dtype=torch.float64, device=device)
        for size in _sizes(num_images, batch_size):
            images_BCHW = makers[source](size).float()
            totals += size * _compare(teacher(images_BCHW).float(), student(images_BCHW).float())
        for name, total in zip(("agreement", "divergence", "logit_gap"), totals.tolist(), strict=True):
            found[f"{name}_{source}"] = total / num_images
    teacher.train(modes[0])
    student.train(modes[1])
    return found


def _compare(teacher_logits_BK: Tensor, student_logits_BK: Tensor) -> Tensor:
    same = (teacher_logits_BK.argmax(dim=1) == student_logits_BK.argmax(dim=1)).double().mean()
    gap = discrepancy(student_logits_BK, teacher_logits_BK).double()
    return torch.stack([same, divergence(student_logits_BK, teacher_logits_BK).double(), gap])


def _sizes(total: int, batch: int) -> Iterator[int]:
    for start in range(0, total, batch):
        yield min(batch, total - start)


def procedural(count: int, shape: Shape, stream: torch.Generator) -> Tensor:
    """Images of oriented gratings times soft blobs, each of mean 0 and deviation 1: (N, C, H, W)."""
    channels, height, width = shape
    device = stream.device

    def uniform(low: float, high: float, *sizes: int) -> Tensor:
        return low + (high - low) * torch.rand(count, *sizes, 1, 1, generator=stream, device=device)

    y = torch.linspace(-1, 1, height, device=device).reshape(1, 1, height, 1)
    x = torch.linspace(-1, 1, width, device=device).reshape(1, 1, 1, width)
    angle, waves, shift = uniform(0, math.pi, 1), uniform(0.5, 4, 1), uniform(0, 2 * math.pi, channels)
    across = x * angle.cos() + y * angle.sin()
    grating = (math.pi * waves * across + shift).sin()
    blob = torch.zeros(count, 1, height, width, device=device)
    for _ in range(3):
        distance = (x - uniform(-0.8, 0.8, 1)) ** 2 + (y - uniform(-0.8, 0.8, 1)) ** 2
        blob = blob + uniform(-1, 1, 1) * (-distance / uniform(0.02, 0.4, 1)).exp()
    share = uniform(0, 1, 1)
    images = share * grating + (1 - share) * 2 * blob
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    std = images.std(dim=(1, 2, 3), keepdim=True).clamp_min(1e-3)
    return (images - mean) / std
