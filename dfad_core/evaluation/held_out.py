"""Synthetic images that no student was trained on, to set the ranges of exports and to check them."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from dfad_core.contract.evaluation_plan import Shape, batch_size, held_out_count
from dfad_core.evaluation.judge_images import JudgeImages
from dfad_core.hooks import Between, nothing
from dfad_core.networks.pixel_range import PixelRange, standardised

BATCH = 64
"""Images in a batch; fewer where they are large."""


def held_out_images(
    shape: Shape,
    seed: int,
    generator: nn.Module | None,
    latent_dim: int,
    *,
    between: Between = nothing,
    pixels: PixelRange | None = None,
) -> Tensor:
    """Images (N, C, H, W) on the CPU, all random numbers from `seed`.

    They alternate between those of the job's own `generator` on new z, where there is one, and drawings of
    the judge's families: others than those that it judges by. `between` is called after each batch.
    """
    device = torch.device("cpu") if generator is None else next(generator.parameters()).device
    drawings = JudgeImages(shape, pixels or standardised(shape[0])).to(device)
    sources: list[tuple[nn.Module, int]] = [(drawings, drawings.latent_dim)]
    if generator is not None:
        sources.insert(0, (generator, latent_dim))
    stream, count = torch.Generator(device).manual_seed(seed), held_out_count(shape)
    images_by_source = []
    for source, length in sources:
        batches = []
        for size in sizes(count, batch_size(shape, BATCH)):
            z_BZ = torch.randn(size, length, generator=stream, device=device)
            with torch.no_grad():
                batches.append(source(z_BZ).float())
            between()
        images_by_source.append(torch.cat(batches))
    return torch.stack(images_by_source, dim=1).flatten(0, 1).cpu()[:count]


def sizes(total: int, batch: int) -> Iterator[int]:
    """Sizes of the batches, at most `batch` each, that `total` images are split into."""
    for start in range(0, total, batch):
        yield min(batch, total - start)
