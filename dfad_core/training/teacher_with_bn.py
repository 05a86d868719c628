"""The teacher of a run: with BN again where its BN was folded into its convolutions."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn

from dfad_core.contract.config import DistillConfig
from dfad_core.contract.evaluation_plan import batch_size
from dfad_core.methods.bias_statistics import (
    MOST_AT_ONCE,
    Statistics,
    estimated_statistics,
    number_of_images,
)
from dfad_core.networks.pixel_range import PixelRange
from dfad_core.networks.refolding import unfolded_layers
from dfad_core.networks.unfolding import drawn_images, may_be_folded, unfolded
from dfad_core.training.distributed import current_group
from dfad_core.training.queries import Queries


def with_batch_norm(
    teacher: nn.Module,
    config: DistillConfig,
    pixels: PixelRange,
    *,
    macs: int,
    queries: Queries,
    statistics: Statistics | None = None,
) -> nn.Module:
    """The teacher, in eval mode, or a copy with BN if that was folded away; the same function.

    `macs`: multiply-accumulates for one image. `queries` counts the passes. `statistics`: those of the layers
    of the copy; None: they are estimated from drawn images, the same ones in every run.
    """
    shape, device = config.input.shape, next(teacher.parameters()).device
    network: nn.Module | None = teacher
    if may_be_folded(teacher):
        images_BCHW = drawn_images(shape, pixels, device)
        network = unfolded(teacher, images_BCHW)
        queries.images += len(images_BCHW)
    if network is None or not unfolded_layers(network):
        return teacher
    if statistics is None:

        def batches(count: int, size: int) -> Iterator[Tensor]:
            for seed in range(-(-count // size)):
                yield drawn_images(shape, pixels, device, size, seed)

        size = min(config.training.batch_size, batch_size(shape, MOST_AT_ONCE))
        drawn = batches(number_of_images(network, macs, shape), size)
        with queries.counting(network):
            estimated = estimated_statistics(network, drawn)
        statistics = current_group().value_of_first(estimated)
    for layer, (mean_C, var_C) in zip(unfolded_layers(network), statistics, strict=True):
        layer.set_statistics(mean_C.to(device), var_C.to(device))
    return network
