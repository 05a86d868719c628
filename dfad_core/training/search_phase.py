"""Movers that stand in the generator phase's place: nothing to learn, or a search for every batch anew."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.data import Batch, Streams
from dfad_core.data.random_streams import seeded
from dfad_core.methods.objective import Objective
from dfad_core.methods.recipe import Recipe
from dfad_core.networks.noisy_labels import NoisyLabels
from dfad_core.profiling import region
from dfad_core.training.finite_guard import FiniteGuard
from dfad_core.training.phases import Phase, Record, judge, listening, make_optimizer, training
from dfad_core.training.runtime import Runtime


class FixedSource:
    """Images of a source that learns nothing, labelled by the teacher."""

    def __init__(self, source: nn.Module, runtime: Runtime) -> None:
        self._source, self._runtime = source, runtime

    def set_rate(self, factor: float) -> None:
        """There is no rate."""

    def step(
        self, generator_input: Tensor, objective: Objective, student: nn.Module, record: Record
    ) -> Batch:
        """Images of z (B, Z) with the teacher's answers."""
        with torch.no_grad(), self._runtime.autocast():
            images_BCHW = self._source(generator_input)
            logits_BK, marks = objective.ask_teacher(images_BCHW)
        images_BCHW = images_BCHW.to(self._runtime.storage_dtype)
        return Batch(images_BCHW, logits_BK, marks.stages, marks.attention)

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to take over."""


class SearchPhase(Phase):
    """Fits one batch a round by several gradient steps, over pixels or over generator and z.

    The classes that the images shall show are drawn first, each equally often. The last step's images
    are the batch, with the answers that the teacher gave in that step. `optimizer` moves the common
    start where one is learned (`restart` "meta"); each search has an Adam of its own.
    """

    name = "generator"
    shared = False

    def __init__(
        self,
        module: nn.Module,
        optimizer: torch.optim.Optimizer,
        runtime: Runtime,
        guard: FiniteGuard,
        *,
        recipe: Recipe,
        steps: int,
        num_classes: int,
        streams: Streams,
        labels: NoisyLabels | None = None,
    ) -> None:
        super().__init__(module, optimizer, runtime, guard)
        self._recipe, self._steps, self._classes = recipe, steps, num_classes
        self._streams, self._labels = streams, labels
        self._rounds = 0

    def step(
        self, generator_input: Tensor, objective: Objective, student: nn.Module, record: Record
    ) -> Batch:
        """Search from z (B, Z); return the images found with the teacher's answers."""
        size = len(generator_input)
        wanted = self._streams.search.permutation(torch.arange(size).numpy() % self._classes)
        wanted_B = torch.from_numpy(wanted).to(generator_input.device)
        pixels = self._recipe.source == "pixels"
        start = None if pixels else self._begin()
        with training(self.module):
            variables, make = self._variables(generator_input, wanted_B, pixels=pixels)
            adam = make_optimizer("adam", variables, self._recipe.search_rate, 0.0)
            for _ in range(self._steps):
                with self._runtime.autocast(), listening(objective):
                    with region("generator"):
                        images_BCHW = make()
                    loss, logits_BK, marks = judge(images_BCHW, objective, student, record, wanted_B)
                adam.zero_grad(set_to_none=True)
                with region("backward, generator's turn"):
                    loss.backward()  # type: ignore[no-untyped-call]
                self._guard.check(loss, adam, self.name)
                with region("optimizer"):
                    adam.step()
            if start is not None:
                self._learn_start(start)
        self._rounds += 1
        images = images_BCHW.detach().to(self._runtime.storage_dtype)
        return Batch(images, logits_BK.detach(), marks.stages, marks.attention)

    def _begin(self) -> list[Tensor] | None:
        """Put the generator where the search starts; the common start's weights if that is learned."""
        restart = self._recipe.restart
        if restart == "meta":
            return [p.detach().clone() for p in self.module.parameters()]
        if restart == "round" or (self._rounds > 0 and self._rounds % self._recipe.restart_rounds == 0):
            fresh_weights(self.module, int(self._streams.search.integers(2**62)))
        return None

    def _learn_start(self, start: list[Tensor]) -> None:
        """First-order MAML: the gradient at the end of the search moves its start."""
        with torch.no_grad():
            for parameter, before in zip(self.module.parameters(), start, strict=True):
                parameter.copy_(before)
        self._group.average_gradients(self.module)
        self._guard.protect(self.optimizer)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    def _variables(
        self, z_BZ: Tensor, wanted_B: Tensor, *, pixels: bool
    ) -> tuple[list[nn.Parameter], Callable[[], Tensor]]:
        """What a search may change, and how images come of it."""
        if pixels:
            pixels_BCHW = nn.Parameter(self.module(z_BZ).detach().clone())
            return [pixels_BCHW], lambda: self._jittered(pixels_BCHW)
        weights = list(self.module.parameters())
        if self._labels is not None:
            labels = self._labels
            fresh_weights(labels, int(self._streams.search.integers(2**62)))
            labels.requires_grad_(True)
            return [*weights, *labels.parameters()], lambda: self.module(labels(wanted_B))
        latent_BZ = nn.Parameter(z_BZ.clone())
        return [*weights, latent_BZ], lambda: self.module(latent_BZ)

    def _jittered(self, images_BCHW: Tensor) -> Tensor:
        """Shifted by up to two pixels and mirrored half of the time, all alike, as DeepInversion does."""
        rng = self._streams.search
        down, right = (int(shift) for shift in rng.integers(-2, 3, size=2))
        shifted = images_BCHW.roll((down, right), dims=(-2, -1))
        return shifted.flip(-1) if rng.random() < 0.5 else shifted

    def state_dict(self) -> dict[str, Any]:
        """The start's optimizer and how many searches there were."""
        return {**super().state_dict(), "rounds": self._rounds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self._rounds = state["rounds"]


def fresh_weights(module: nn.Module, seed: int) -> None:
    """Initialise every layer of `module` anew; the process's own random streams are left as they were."""
    with seeded(seed, next(module.parameters()).device):
        for layer in module.modules():
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
