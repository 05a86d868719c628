"""Batches that the student is shown beside the round's own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.contract.config import DistillConfig
from dfad_core.data import Batch, Streams
from dfad_core.methods.objective import Objective
from dfad_core.methods.recipe import Recipe
from dfad_core.networks.drawings import LevelSets
from dfad_core.networks.feature_exchange import exchanging_features
from dfad_core.networks.pixel_range import PixelRange
from dfad_core.profiling import region
from dfad_core.training.ema import WeightAverage
from dfad_core.training.runtime import Runtime

GENERATOR_DECAY = 0.95
"""Of the generator's running average, a round; as MAD's."""


class ExtraBatches:
    """Makes and labels what the recipe asks for, from random streams of its own."""

    def __init__(
        self,
        recipe: Recipe,
        config: DistillConfig,
        generator: nn.Module,
        streams: Streams,
        pixels: PixelRange,
    ) -> None:
        self._makers: list[Callable[[int], Tensor]] = []
        self._average: WeightAverage | None = None
        latent_dim = config.training.latent_dim
        if recipe.level_set_batches:
            drawn = LevelSets(config.input.shape, pixels).to(streams.device)
            self._makers += [
                lambda n: drawn(streams.side_noise(n, drawn.latent_dim))
            ] * recipe.level_set_batches
        if recipe.averaged_generator:
            average = self._average = WeightAverage(generator, GENERATOR_DECAY)
            self._makers.append(lambda n: average.module(streams.side_noise(n, latent_dim)))
        if recipe.feature_exchange:

            def exchanged(count: int) -> Tensor:
                with exchanging_features(generator, streams.search):
                    images: Tensor = generator(streams.side_noise(count, latent_dim))
                return images

            self._makers.append(exchanged)

    def __len__(self) -> int:
        """Batches a round."""
        return len(self._makers)

    @torch.no_grad()
    def make(self, objective: Objective, runtime: Runtime, size: int) -> list[Batch]:
        """This round's batches of `size` images each, without any graph."""
        if self._average is not None:
            self._average.update()
        batches = []
        for maker in self._makers:
            with runtime.autocast():
                with region("images beside the game"):
                    images_BCHW = maker(size).contiguous(memory_format=torch.channels_last)
                logits_BK = objective.teacher_logits(images_BCHW)
            batches.append(Batch(images_BCHW.to(runtime.storage_dtype), logits_BK))
        return batches

    def state_dict(self) -> dict[str, Any]:
        """The average, if there is one; the streams are kept elsewhere."""
        return {} if self._average is None else {"average": self._average.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        if self._average is not None:
            self._average.load_state_dict(state["average"])
