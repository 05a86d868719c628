"""The search for a batch of images: gradient steps over pixels, or over generator and z, in each round.

Shapes: z_BZ noise, images_BCHW in the teacher's normalised space, logits_BK, wanted_B requested classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.contract.recipe import Recipe
from dfad_core.data import Batch, Streams
from dfad_core.data.class_deck import ClassDeck
from dfad_core.data.random_streams import seeded
from dfad_core.errors import DivergedError
from dfad_core.methods.objective import Objective
from dfad_core.networks.noisy_labels import NoisyLabels
from dfad_core.training.distributed import current_group
from dfad_core.training.finite_guard import FiniteGuard
from dfad_core.training.generator_phase import Record, generator_loss, recording
from dfad_core.training.optimizers import load_optimizer, trainable
from dfad_core.training.runtime import Runtime

MIN_ROWS = 2
"""Images that a batch keeps at least: batch norm needs two."""
RESTARTS = 3
"""Restarts without the images whose logits were not finite; after them a search ends where it meets such."""


@dataclass(frozen=True)
class Fit:
    """What one search arrived at."""

    loss: Tensor
    """Of `batch`, a scalar. Not finite where no step was sound, or where a loss was not finite though the
    teacher's logits were."""
    batch: Batch
    """The images of least loss in a sound step, with the teacher's logits."""
    finite_B: Tensor
    """Whether the teacher's logits were finite in every step, for each image (bool)."""
    gradients: list[Tensor]
    """Of the module's parameters, summed over all steps; empty unless its start is learned."""
    gaps: list[list[tuple[str, Tensor]]]
    """The values of the terms in each step."""
    sound_steps: Tensor
    """Steps until a number was not finite, a scalar."""
    optimizer: torch.optim.Optimizer
    """The search's own."""


class SearchPhase:
    """Fits one batch a round by several gradient steps, over pixels or over generator and z.

    The requested classes come from a deck. The images of least loss are the batch, with the teacher's logits
    of that step. Each search has an Adam of its own; where a common start is learned (`restart`
    "meta"), another one moves the start by the sum of the search's gradients, at its rate times its steps.

    The student is in eval mode meanwhile: half-fitted images do not write its BN statistics. Images for which
    the teacher's logits are not finite are left out, and the search starts again with the others.
    """

    def __init__(
        self,
        module: nn.Module,
        runtime: Runtime,
        guard: FiniteGuard,
        *,
        recipe: Recipe,
        steps: int,
        deck: ClassDeck,
        streams: Streams,
        labels: NoisyLabels | None = None,
    ) -> None:
        self.module, self.steps = module, steps
        self._runtime, self._guard, self._recipe = runtime, guard, recipe
        self._deck, self._streams, self._labels = deck, streams, labels
        self._group = current_group()
        self._rounds = 0
        self._start_rate = recipe.search_rate * steps
        self._start: torch.optim.Optimizer | None = None
        """Moves the common start, where one is learned."""
        if recipe.restart == "meta":
            self._start = self._adam(list(module.parameters()), self._start_rate)

    def step(
        self, generator_input: Tensor, objective: Objective, student: nn.Module, record: Record
    ) -> Batch:
        """Search from z (B, Z); return the images with the teacher's logits, at most B of them.

        Raises DivergedError if the loss is not finite though the teacher's logits are, or if they are finite
        for fewer than two images.
        """
        z_BZ = generator_input
        wanted_B = torch.from_numpy(self._deck.deal(len(z_BZ))).to(z_BZ.device)
        self._begin()
        origin = [p.detach().clone() for p in self.module.parameters()]
        with trainable(self.module), evaluating(student):
            for restart in count():
                fit = self._fit(z_BZ, wanted_B, objective, student)
                rows = fit.finite_B.nonzero().flatten()
                enough = len(rows) >= MIN_ROWS
                sound = bool(torch.isfinite(fit.loss))
                if len(rows) == len(z_BZ) or (sound and (restart == RESTARTS or not enough)):
                    break
                self._restore(origin)
                if not enough:
                    self._give_up()
                    break
                z_BZ, wanted_B = z_BZ[rows], wanted_B[rows]
            self._finish(fit, origin)
        for gaps in fit.gaps[: int(fit.sound_steps)]:
            for name, value in gaps:
                record(name, value)
        self._rounds += 1
        return fit.batch

    def _begin(self) -> None:
        """Put the generator where the search starts."""
        restart, rounds = self._recipe.restart, self._rounds
        if self._recipe.source == "pixels" or restart == "meta":
            return
        if restart == "round" or (rounds > 0 and rounds % self._recipe.restart_rounds == 0):
            fresh_weights(self.module, int(self._streams.search.integers(2**62)))

    def _fit(self, z_BZ: Tensor, wanted_B: Tensor, objective: Objective, student: nn.Module) -> Fit:
        """One search, until its steps are spent or a number is not finite."""
        variables, make_images = self._variables(z_BZ, wanted_B)
        adam = self._adam(variables, self._recipe.search_rate)
        # A flag on the device: fused optimizers make no update while it is set, and nothing waits for it.
        stop = torch.zeros((), device=z_BZ.device)
        adam.found_inf = stop  # type: ignore[attr-defined]
        learned = list(self.module.parameters()) if self._start is not None else []
        gradients = [torch.zeros_like(p) for p in learned]
        finite_B = torch.ones(len(z_BZ), dtype=torch.bool, device=z_BZ.device)
        gaps: list[list[tuple[str, Tensor]]] = []
        sound_steps = torch.zeros_like(stop)
        best_loss, best = torch.zeros(()), None
        for _ in range(self.steps):
            with self._runtime.autocast(), recording(objective):
                images_BCHW = make_images()
                gaps.append([])
                loss, logits_BK, stages = generator_loss(
                    images_BCHW,
                    objective,
                    student,
                    lambda name, value: gaps[-1].append((name, value.detach())),
                    wanted_B,
                )
            images = images_BCHW.detach().to(self._runtime.storage_dtype)
            batch = Batch(images, logits_BK.detach(), stages.stages, stages.attention)
            finite_B &= torch.isfinite(batch.teacher_logits_BK).all(dim=1)
            sound = torch.isfinite(loss.detach()) & finite_B.all()
            now = torch.where(sound, loss.detach(), torch.inf)
            best_loss, best = (now, batch) if best is None else lesser(best_loss, best, now, batch)
            torch.maximum(stop, (~sound).float(), out=stop)
            sound_steps += 1 - stop
            if stop.device.type == "cpu" and bool(stop):
                break
            adam.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            for sum_of_steps, parameter in zip(gradients, learned, strict=True):
                if parameter.grad is not None:
                    sum_of_steps.add_(torch.where(stop > 0, 0.0, parameter.grad))
            adam.step()
        assert best is not None
        best_loss = torch.where((stop > 0) & finite_B.all(), torch.nan, best_loss)
        return Fit(best_loss, best, finite_B, gradients, gaps, sound_steps, adam)

    def _finish(self, fit: Fit, origin: list[Tensor]) -> None:
        """Show the guard the search's loss, and move the common start where one is learned."""
        if self._start is None:
            self._guard.check(fit.loss, fit.optimizer, "generator")
            return
        self._restore(origin)
        # First-order MAML, as the authors' code has it: every step's gradient counts.
        for parameter, gradient in zip(self.module.parameters(), fit.gradients, strict=True):
            parameter.grad = gradient
        self._guard.check(fit.loss, self._start, "generator")
        self._group.average_gradients(self.module.parameters())
        self._start.step()
        self._start.zero_grad(set_to_none=True)

    def _give_up(self) -> None:
        """Nothing is left to fit. In a process group the guard ends all of them: they wait for each other."""
        if self._group.size == 1:
            raise DivergedError(
                f"the teacher's logits are finite for fewer than {MIN_ROWS} images of a batch",
                code="teacher_not_finite",
                param="teacher",
            )

    def _restore(self, origin: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, before in zip(self.module.parameters(), origin, strict=True):
                parameter.copy_(before)

    def _adam(self, parameters: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        """Fused: others refuse the flag by which an update is skipped."""
        return torch.optim.Adam(parameters, rate, betas=(self._recipe.search_beta, 0.999), fused=True)

    def _variables(self, z_BZ: Tensor, wanted_B: Tensor) -> tuple[list[nn.Parameter], Callable[[], Tensor]]:
        """What a search changes, and the function that makes images of it."""
        if self._recipe.source == "pixels":
            pixels_BCHW = nn.Parameter(self.module(z_BZ).detach().clone())
            return [pixels_BCHW], lambda: self._shifted(pixels_BCHW)
        weights = list(self.module.parameters())
        if self._labels is not None:
            labels = self._labels
            fresh_weights(labels, int(self._streams.search.integers(2**62)))
            labels.requires_grad_(True)
            return [*weights, *labels.parameters()], lambda: self.module(labels(wanted_B))
        latent_BZ = nn.Parameter(z_BZ.clone())
        return [*weights, latent_BZ], lambda: self.module(latent_BZ)

    def _shifted(self, images_BCHW: Tensor) -> Tensor:
        """All images shifted alike by up to two pixels, as in DeepInversion."""
        down, right = (int(shift) for shift in self._streams.search.integers(-2, 3, size=2))
        return images_BCHW.roll((down, right), dims=(-2, -1))

    def set_rate(self, factor: float) -> None:
        """Move the common start at `factor` times its peak rate; within a search the rate is the recipe's."""
        if self._start is not None:
            for group in self._start.param_groups:
                group["lr"] = self._start_rate * factor

    def state_dict(self) -> dict[str, Any]:
        """The deck, the number of searches, and the optimizer of the common start."""
        start = None if self._start is None else self._start.state_dict()
        return {"start": start, "rounds": self._rounds, "deck": self._deck.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned."""
        if self._start is not None:
            load_optimizer(self._start, state["start"])
        self._rounds = state["rounds"]
        self._deck.load_state_dict(state["deck"])


def lesser(loss: Tensor, batch: Batch, other_loss: Tensor, other: Batch) -> tuple[Tensor, Batch]:
    """The smaller of two losses with its batch, chosen on the device."""
    choose = other_loss < loss

    def chosen(ours: Tensor, theirs: Tensor) -> Tensor:
        return torch.where(choose, theirs, ours)

    return chosen(loss, other_loss), Batch(
        chosen(batch.images_BCHW, other.images_BCHW),
        chosen(batch.teacher_logits_BK, other.teacher_logits_BK),
        tuple(map(chosen, batch.active, other.active)),
        tuple(map(chosen, batch.attention, other.attention)),
    )


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode for the block: BN layers use their running statistics and leave them as they are."""
    modes = [(m, m.training) for m in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for submodule, mode in modes:
            submodule.training = mode


def fresh_weights(module: nn.Module, seed: int) -> None:
    """Initialise every layer of `module` again; the process's own random streams stay as they are."""
    with seeded(seed, next(module.parameters()).device):
        for layer in module.modules():
            reset = getattr(layer, "reset_parameters", None)
            if callable(reset):
                reset()
