"""What a student is judged on where there are no data: inputs that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from dfad_core.contract.evaluation_plan import Shape, batch_size, held_out_count
from dfad_core.data.random_streams import seeded
from dfad_core.evaluation.procedural import procedural
from dfad_core.networks.generator import Generator
from dfad_core.pace import Between, nothing

Maker = Callable[[int], Tensor]

UNTRAINED_LATENT, UNTRAINED_WIDTH = 32, 8
HELD_OUT_BATCH = 64


def makers(
    shape: Shape, seed: int, device: torch.device, generator: nn.Module | None, latent_dim: int
) -> dict[str, Maker]:
    """Sources of images (N, C, H, W) in the teacher's normalised space, all drawn from `seed`.

    `noise`: N(0, 1) pixels. `procedural`: gratings and blobs. `untrained_generator`: DFAD's generator with
    weights that nothing has trained. `generator`, if one is given: the job's own, on new z.
    """
    stream = torch.Generator(device).manual_seed(seed)
    with seeded(seed, torch.device("cpu")):
        untrained = Generator(UNTRAINED_LATENT, UNTRAINED_WIDTH, shape).to(device).requires_grad_(False)

    def latent(count: int, length: int) -> Tensor:
        return torch.randn(count, length, generator=stream, device=device)

    found: dict[str, Maker] = {
        "noise": lambda n: latent(n, math.prod(shape)).unflatten(1, shape),  # type: ignore[no-untyped-call]
        "procedural": lambda n: procedural(n, shape, stream),
        "untrained_generator": lambda n: untrained(latent(n, UNTRAINED_LATENT)),
    }
    if generator is not None:
        own = generator
        found["generator"] = lambda n: own(latent(n, latent_dim))
    return found


def held_out_images(
    shape: Shape, seed: int, generator: nn.Module | None, latent_dim: int, between: Between = nothing
) -> Tensor:
    """Images (N, C, H, W) on the CPU to calibrate and check exports with, the sources in turn.

    The job's own generator, where there is one, and procedural images; none of them was trained on. `between`
    is called after each batch.
    """
    device = torch.device("cpu") if generator is None else next(generator.parameters()).device
    count = held_out_count(shape)
    found = makers(shape, seed + 1, device, generator, latent_dim)
    names = [name for name in ("generator", "procedural") if name in found]
    drawn = []
    for name in names:
        batches = []
        for size in sizes(count, batch_size(shape, HELD_OUT_BATCH)):
            with torch.no_grad():
                batches.append(found[name](size).float())
            between()
        drawn.append(torch.cat(batches))
    return torch.stack(drawn, dim=1).flatten(0, 1).cpu()[:count]


def sizes(total: int, batch: int) -> Iterator[int]:
    """`total` in batches of at most `batch`."""
    for start in range(0, total, batch):
        yield min(batch, total - start)
