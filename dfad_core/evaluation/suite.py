"""Image sources for fidelity. No student is trained on their images."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from dfad_core.contract.evaluation_plan import Shape, batch_size, held_out_count
from dfad_core.data.random_streams import seeded
from dfad_core.evaluation.procedural import procedural
from dfad_core.hooks import Between, nothing
from dfad_core.networks.drawings import NoiseImages
from dfad_core.networks.generator import Generator
from dfad_core.networks.pixel_range import PixelRange, standardised

Maker = Callable[[int], Tensor]

UNTRAINED_LATENT, UNTRAINED_WIDTH = 32, 8
HELD_OUT_BATCH = 64


def makers(
    shape: Shape,
    seed: int,
    device: torch.device,
    generator: nn.Module | None,
    latent_dim: int,
    *,
    pixels: PixelRange | None = None,
) -> dict[str, Maker]:
    """Sources of images (N, C, H, W) in the teacher's input space, all random numbers from `seed`.

    `noise`: normal pixels with the mean and deviation of `pixels`, 0 and 1 by default. `procedural`: gratings
    and blobs, clamped to black and white. `untrained_generator`: DFAD's generator with its initial weights.
    `generator`, if there is one: the job's own, on new z.
    """
    pixels = pixels or standardised(shape[0])
    stream = torch.Generator(device).manual_seed(seed)
    with seeded(seed, torch.device("cpu")):
        untrained = Generator(UNTRAINED_LATENT, UNTRAINED_WIDTH, shape, pixels)
    untrained.to(device).requires_grad_(False)
    noise = NoiseImages(shape, pixels).to(device)

    def latent(count: int, length: int) -> Tensor:
        return torch.randn(count, length, generator=stream, device=device)

    sources: dict[str, Maker] = {
        "noise": lambda n: noise(latent(n, noise.latent_dim)),
        "procedural": lambda n: pixels.place(procedural(n, shape, stream)),
        "untrained_generator": lambda n: untrained(latent(n, UNTRAINED_LATENT)),
    }
    if generator is not None:
        own = generator
        sources["generator"] = lambda n: own(latent(n, latent_dim))
    return sources


def held_out_images(
    shape: Shape,
    seed: int,
    generator: nn.Module | None,
    latent_dim: int,
    *,
    between: Between = nothing,
    pixels: PixelRange | None = None,
) -> Tensor:
    """Images (N, C, H, W) on the CPU for the calibration and check of exports.

    They alternate between the job's own generator, where there is one, and procedural images; no student was
    trained on them. `between` is called after each batch.
    """
    device = torch.device("cpu") if generator is None else next(generator.parameters()).device
    count = held_out_count(shape)
    sources = makers(shape, seed + 1, device, generator, latent_dim, pixels=pixels)
    names = [name for name in ("generator", "procedural") if name in sources]
    images_by_source = []
    for name in names:
        batches = []
        for size in sizes(count, batch_size(shape, HELD_OUT_BATCH)):
            with torch.no_grad():
                batches.append(sources[name](size).float())
            between()
        images_by_source.append(torch.cat(batches))
    return torch.stack(images_by_source, dim=1).flatten(0, 1).cpu()[:count]


def sizes(total: int, batch: int) -> Iterator[int]:
    """Sizes of the batches, at most `batch` each, that `total` images are split into."""
    for start in range(0, total, batch):
        yield min(batch, total - start)
