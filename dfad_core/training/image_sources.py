"""Where the round's own batch comes from, built from the recipe."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from dfad_core.contract.config import DistillConfig
from dfad_core.data import Streams
from dfad_core.errors import ConfigError
from dfad_core.methods.recipe import Recipe
from dfad_core.networks.drawings import LevelSets, NoiseImages
from dfad_core.networks.generator import Generator
from dfad_core.networks.noisy_labels import NoisyLabels
from dfad_core.networks.pixel_range import PixelRange
from dfad_core.training.cuda_graphs import Replay
from dfad_core.training.finite_guard import FiniteGuard
from dfad_core.training.phases import GeneratorPhase, ImageSource, make_optimizer
from dfad_core.training.runtime import Runtime
from dfad_core.training.search_phase import FixedSource, SearchPhase

LEARNED = ("generator", "search")
"""Sources with a generator that learns."""
DRAWN = ("noise", "level_sets")
"""Sources that learn nothing, and so cannot collapse."""


def build_source(
    recipe: Recipe, config: DistillConfig, given: nn.Module | None, pixels: PixelRange
) -> tuple[nn.Module, int]:
    """The module that makes images of z within `pixels`, and the length of z.

    `given` replaces a generator that learns.
    """
    shape, training = config.input.shape, config.training
    if recipe.source in LEARNED:
        generator = given or Generator(training.latent_dim, training.generator_width, shape, pixels)
        return generator, training.latent_dim
    drawn = (LevelSets if recipe.source == "level_sets" else NoiseImages)(shape, pixels)
    return drawn, drawn.latent_dim


def build_image_source(
    recipe: Recipe,
    config: DistillConfig,
    source: nn.Module,
    *,
    inner_steps: int,
    runtime: Runtime,
    guard: FiniteGuard,
    streams: Streams,
    label_embeddings_KE: Tensor | None = None,
    replay: Replay | None = None,
) -> ImageSource:
    """The phase that makes each round's batch.

    Raises ConfigError where label embeddings do not fit the classes.
    """
    if recipe.source in DRAWN:
        return FixedSource(source, runtime)
    rate = config.training.generator_learning_rate
    # A search over pixels has no weights of its own; an optimizer needs at least one parameter.
    learner = source if recipe.source in LEARNED else nn.Linear(1, 1)
    played = recipe.source == "generator"
    optimizer = make_optimizer(
        "adam", learner.parameters(), rate, 0.0, recorded=played and replay is not None
    )
    if played:
        return GeneratorPhase(
            source, optimizer, runtime, guard, parts=config.training.accumulation, replay=replay
        )
    labels = None
    if recipe.noisy_labels:
        embeddings_KE = _embeddings(label_embeddings_KE, config.num_classes)
        groups = math.ceil(config.training.batch_size / config.num_classes)
        labels = NoisyLabels(embeddings_KE, groups, config.training.latent_dim).to(runtime.device)
    return SearchPhase(
        source,
        optimizer,
        runtime,
        guard,
        recipe=recipe,
        steps=inner_steps,
        num_classes=config.num_classes,
        streams=streams,
        labels=labels,
    )


def _embeddings(given_KE: Tensor | None, num_classes: int) -> Tensor:
    if given_KE is None:
        return torch.eye(num_classes)
    if given_KE.dim() != 2 or len(given_KE) != num_classes or not bool(torch.isfinite(given_KE).all()):
        raise ConfigError(
            f"label embeddings must be finite, one row for each of the {num_classes} classes",
            param="label_embeddings",
        )
    return given_KE
