"""Sources of images: the module that turns noise into images, and the extra batches of a round."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.contract.config import DistillConfig
from dfad_core.contract.errors import ConfigError
from dfad_core.contract.recipe import Recipe
from dfad_core.data import Batch, Streams
from dfad_core.data.batch import join
from dfad_core.data.class_deck import largest_count
from dfad_core.methods.image_choice import ImageChoice
from dfad_core.methods.objective import Objective
from dfad_core.networks.drawings import Collages, DrawnImages, LevelSets, NoiseImages
from dfad_core.networks.feature_exchange import exchanging_features
from dfad_core.networks.generator import Generator
from dfad_core.networks.noisy_labels import NoisyLabels
from dfad_core.networks.pixel_range import PixelRange
from dfad_core.training.ema import WeightAverage
from dfad_core.training.finite_guard import FiniteGuard
from dfad_core.training.profiling import region
from dfad_core.training.runtime import Runtime

SEARCHED = ("search", "pixels")
"""Sources whose images are fitted to each batch anew."""
LEARNED = ("generator", "search")
"""Sources with a generator that learns."""
DRAWN: dict[str, type[NoiseImages] | type[DrawnImages]] = {
    "noise": NoiseImages,
    "level_sets": LevelSets,
    "collages": Collages,
}
"""Sources that learn nothing, and so cannot collapse."""
GENERATOR_DECAY = 0.95
"""Decay of the generator's running average, a round; as in MAD."""


def build_source(
    recipe: Recipe, config: DistillConfig, generator: nn.Module | None, pixels: PixelRange
) -> tuple[nn.Module, int]:
    """The module that turns z (B, Z) into images within `pixels`, and Z.

    `generator` replaces the config's own.
    """
    shape, training = config.input.shape, config.training
    if recipe.source in LEARNED:
        generator = generator or Generator(training.latent_dim, training.generator_width, shape, pixels)
        return generator, training.latent_dim
    drawn = recipe.first_images if recipe.source == "pixels" else recipe.source
    drawings: NoiseImages | DrawnImages = DRAWN[drawn](shape, pixels)
    return drawings, drawings.latent_dim


def build_label_layer(
    recipe: Recipe, config: DistillConfig, label_embeddings_KE: Tensor | None
) -> NoisyLabels | None:
    """The layer from class embeddings to z, for methods that have one.

    Raises ConfigError unless the embeddings are finite, one row a class.
    """
    if not recipe.noisy_labels:
        return None
    classes = config.num_classes
    embeddings_KE = torch.eye(classes) if label_embeddings_KE is None else label_embeddings_KE
    if (
        embeddings_KE.dim() != 2
        or len(embeddings_KE) != classes
        or not bool(torch.isfinite(embeddings_KE).all())
    ):
        raise ConfigError(
            f"label embeddings must be finite, one row for each of the {classes} classes",
            param="label_embeddings",
        )
    groups = largest_count(config.training.batch_size, classes)
    return NoisyLabels(embeddings_KE, groups, config.training.latent_dim)


@torch.no_grad()
def labelled_batch(
    images: Callable[[], Tensor],
    objective: Objective,
    runtime: Runtime,
    guard: FiniteGuard,
    *,
    stages: bool = True,
    choice: ImageChoice | None = None,
    slices: int = 1,
) -> Batch:
    """The images that `images` makes, with the teacher's logits, without a graph.

    Images whose logits are not finite are left out. `stages`: with the teacher's stages that the student's
    terms read. `choice`: with the statistics that it chooses by. The teacher labels one slice at a time.
    """
    with runtime.autocast():
        images_BCHW = images().contiguous(memory_format=torch.channels_last)
    parts = [
        _labelled(part, objective, runtime, stages=stages, choice=choice)
        for part in images_BCHW.tensor_split(slices)
    ]
    batch = join(parts)
    rows = guard.finite_rows(batch.teacher_logits_BK)
    return batch if rows is None else batch.rows(rows)


def _labelled(
    images_BCHW: Tensor, objective: Objective, runtime: Runtime, *, stages: bool, choice: ImageChoice | None
) -> Batch:
    with runtime.autocast(), nullcontext() if choice is None else choice.recording():
        logits_BK, record = objective.ask_teacher(images_BCHW, with_stages=stages, whole=choice is not None)
    statistics_BD = None if choice is None else choice.statistics(logits_BK)
    images_BCHW = images_BCHW.to(runtime.storage_dtype)
    return Batch(images_BCHW, logits_BK, record.stages, record.attention, statistics_BD)


class ExtraBatches:
    """The student's batches of a round besides the round's own, from random streams of their own."""

    def __init__(
        self,
        recipe: Recipe,
        config: DistillConfig,
        generator: nn.Module,
        streams: Streams,
        pixels: PixelRange,
    ) -> None:
        self._images: list[Callable[[int], Tensor]] = []
        self._average: WeightAverage | None = None
        latent_dim = config.training.latent_dim
        if recipe.level_set_batches:
            level_sets = LevelSets(config.input.shape, pixels).to(streams.device)
            self._images += [
                lambda n: level_sets(streams.extra_noise(n, level_sets.latent_dim))
            ] * recipe.level_set_batches
        if recipe.averaged_generator:
            average = self._average = WeightAverage(generator, GENERATOR_DECAY)
            self._images.append(lambda n: average.module(streams.extra_noise(n, latent_dim)))
        if recipe.feature_exchange:

            def exchanged(count: int) -> Tensor:
                with exchanging_features(generator, streams.search):
                    images_BCHW: Tensor = generator(streams.extra_noise(count, latent_dim))
                return images_BCHW

            self._images.append(exchanged)

    def __len__(self) -> int:
        """Number of batches in each round."""
        return len(self._images)

    def make(
        self,
        objective: Objective,
        runtime: Runtime,
        guard: FiniteGuard,
        size: int,
        *,
        choice: ImageChoice | None = None,
        slices: int = 1,
    ) -> list[Batch]:
        """This round's batches of `size` images each, with the teacher's logits, as `labelled_batch`'s."""
        if self._average is not None:
            self._average.update()
        with region("extra batches"):
            return [
                labelled_batch(
                    partial(images, size),
                    objective,
                    runtime,
                    guard,
                    stages=False,
                    choice=choice,
                    slices=slices,
                )
                for images in self._images
            ]

    def state_dict(self) -> dict[str, Any]:
        """The generator's running average, if there is one; the streams are in the run's state."""
        return {} if self._average is None else {"average": self._average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        if self._average is not None:
            self._average.load_state_dict(state["average"])
