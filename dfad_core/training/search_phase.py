"""The search for a batch of images: gradient steps over pixels, or over generator and z, in each round."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.contract.recipe import Recipe
from dfad_core.data import Batch, Streams
from dfad_core.data.random_streams import seeded
from dfad_core.methods.objective import Objective
from dfad_core.networks.noisy_labels import NoisyLabels
from dfad_core.training.distributed import current_group
from dfad_core.training.finite_guard import FiniteGuard
from dfad_core.training.generator_phase import Record, generator_loss, recording
from dfad_core.training.optimizers import Phase, make_optimizer, trainable
from dfad_core.training.runtime import Runtime


class SearchPhase:
    """Fits one batch a round by several gradient steps, over pixels or over generator and z.

    The classes that the images shall show are drawn first, each equally often. The last step's images
    are the batch, with the answers that the teacher gave in that step. `optimizer` moves the common
    start where one is learned (`restart` "meta"); each search has an Adam of its own.
    """

    def __init__(
        self,
        module: nn.Module,
        runtime: Runtime,
        guard: FiniteGuard,
        *,
        recipe: Recipe,
        steps: int,
        start_rate: float,
        num_classes: int,
        streams: Streams,
        labels: NoisyLabels | None = None,
    ) -> None:
        self.module, self._runtime, self._guard = module, runtime, guard
        self._group = current_group()
        self._start: Phase | None = None
        """The common start that is learned, where there is one."""
        if recipe.restart == "meta":
            self._start = Phase(module, make_optimizer("adam", list(module.parameters()), start_rate))
        self._recipe, self.steps, self._classes = recipe, steps, num_classes
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
        with trainable(self.module):
            variables, make = self._variables(generator_input, wanted_B, pixels=pixels)
            adam = make_optimizer("adam", variables, self._recipe.search_rate)
            for _ in range(self.steps):
                with self._runtime.autocast(), recording(objective):
                    images_BCHW = make()
                    loss, logits_BK, marks = generator_loss(images_BCHW, objective, student, record, wanted_B)
                adam.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                self._guard.check(loss, adam, "generator")
                adam.step()
            if start is not None:
                self._learn_start(start)
        self._rounds += 1
        images = images_BCHW.detach().to(self._runtime.storage_dtype)
        return Batch(images, logits_BK.detach(), marks.stages, marks.attention)

    def set_rate(self, factor: float) -> None:
        """Move the common start at `factor` times its peak rate; within a search the rate is the recipe's."""
        if self._start is not None:
            self._start.set_rate(factor)

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
        assert self._start is not None
        optimizer = self._start.optimizer
        self._group.average_gradients(self.module.parameters())
        self._guard.protect(optimizer)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

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
        start = None if self._start is None else self._start.state_dict()
        return {"start": start, "rounds": self._rounds}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        if self._start is not None:
            self._start.load_state_dict(state["start"])
        self._rounds = state["rounds"]


def fresh_weights(module: nn.Module, seed: int) -> None:
    """Initialise every layer of `module` anew; the process's own random streams are left as they were."""
    with seeded(seed, next(module.parameters()).device):
        for layer in module.modules():
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
