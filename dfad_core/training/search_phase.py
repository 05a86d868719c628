"""The search for a batch of images: gradient steps over pixels, or over generator and z, in each round.

Shapes: z_BZ noise, images_BCHW in the teacher's normalised space, logits_BK, classes_B requested classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dfad_core.contract.recipe import Recipe
from dfad_core.data import Batch, Streams
from dfad_core.data.augmentation import shifted
from dfad_core.data.batch import join
from dfad_core.data.class_deck import ClassDeck, nearest_order
from dfad_core.data.random_streams import seeded
from dfad_core.hooks import nothing
from dfad_core.methods.objective import Objective
from dfad_core.networks.noisy_labels import NoisyLabels
from dfad_core.networks.pixel_pyramid import PixelPyramid
from dfad_core.training.distributed import current_group
from dfad_core.training.finite_guard import MAX_SHARE, MIN_ROWS, FiniteGuard
from dfad_core.training.generator_phase import Record, generator_loss, recording
from dfad_core.training.optimizers import load_optimizer, trainable
from dfad_core.training.runtime import Runtime


@dataclass
class Fit:
    """The result of one search."""

    rows: Tensor
    """Indices of the images that remain."""
    loss: Tensor
    """Loss of `batch`, a scalar; infinite before the first finite one."""
    batch: Batch | None = None
    """The images of the step with the least finite loss, with the teacher's logits."""
    sound: bool = True
    """Whether every loss was finite, and every logit of the teacher for the images that remain."""
    gradients: list[Tensor] = field(default_factory=list)
    """Gradients of the module's parameters, summed over all steps; empty unless a common start is learned."""
    gaps: list[tuple[str, Tensor]] = field(default_factory=list)
    """The values of the terms, step by step, in steps with finite numbers alone."""


class SearchPhase:
    """Fits one batch a round by several gradient steps, over pixels or over generator and z.

    The requested classes come from a deck. The images of least loss are the batch, with the teacher's logits
    of that step. Each search has an Adam of its own; where a common start is learned (`restart`
    "meta"), another one moves the start by the sum of the search's gradients, at its rate times its steps.

    The student is in eval mode during a search, so that unfinished images do not change its BN statistics.
    Images for which the teacher's logits are not finite are left out, and the search goes on with the others.
    Where views are fitted, the logits are those of the views.
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
        bounds: tuple[Tensor, Tensor] | None = None,
        between: Callable[[], None] = nothing,
    ) -> None:
        self.module, self.steps = module, steps
        self._runtime, self._guard, self._recipe = runtime, guard, recipe
        self._deck, self._streams, self._labels, self._bounds = deck, streams, labels, bounds
        self._between = between
        self._group = current_group()
        self._rounds = 0
        self._no_update = self._adam([nn.Parameter(torch.zeros((), device=runtime.device))], 0.0)
        """Stands for an optimizer where the guard needs one and no common start is learned."""
        self._start_rate = recipe.search_rate * steps
        self._start: torch.optim.Optimizer | None = None
        """Moves the common start, where one is learned."""
        if recipe.restart == "meta":
            self._start = self._adam(list(module.parameters()), self._start_rate)

    def step(
        self,
        generator_input: Tensor,
        objective: Objective,
        student: nn.Module,
        record: Record,
        slices: int = 1,
    ) -> Batch:
        """Search from z (B, Z); return the images with the teacher's logits, at most B of them.

        The batch is fitted in `slices`, each by a search of its own. Raises DivergedError if the loss is not
        finite although the teacher's logits are, or if fewer than two images of a slice have finite logits.
        """
        parts = []
        for number, z in enumerate(generator_input.tensor_split(slices)):
            self._begin(first=number == 0)
            parts.append(self._search(z, objective, student, record))
        self._rounds += 1
        return join(parts)

    def _search(
        self, generator_input: Tensor, objective: Objective, student: nn.Module, record: Record
    ) -> Batch:
        """One search, from the weights that the generator has."""
        dealt_B = self._deck.deal(len(generator_input))
        start = generator_input if self._recipe.source == "search" else self.module(generator_input).detach()
        if self._recipe.first_images != "noise":
            dealt_B = self._nearest(start, dealt_B, objective)
        classes_B = torch.from_numpy(dealt_B).to(start.device)
        origin = [p.detach().clone() for p in self.module.parameters()]
        with trainable(self.module), evaluating(student):
            fit = self._fit(start, classes_B, objective, student, row_checks=self._guard.row_checks)
            if not fit.sound and not self._guard.row_checks:
                self._restore(origin)
                fit = self._fit(start, classes_B, objective, student, row_checks=True)
            # Several processes wait for each other: `_finish` lets the guard end all of them, by the loss.
            if len(fit.rows) >= MIN_ROWS or self._group.size == 1:
                self._guard.count(len(start), len(fit.rows))
            self._finish(fit, origin)
        for name, value in fit.gaps:
            record(name, value)
        assert fit.batch is not None
        return fit.batch

    def _nearest(
        self, images_BCHW: Tensor, dealt_B: NDArray[np.int64], objective: Objective
    ) -> NDArray[np.int64]:
        """The dealt classes in an order in which each image is near its own: a few steps are enough then."""
        with self._runtime.autocast():
            logits_BK = objective.teacher_logits(images_BCHW)
        return nearest_order(logits_BK.log_softmax(1).nan_to_num(-1e9).cpu().numpy(), dealt_B)

    def _begin(self, *, first: bool) -> None:
        """Set the generator's weights to the start of the search; `first`: of the round."""
        restart, rounds = self._recipe.restart, self._rounds
        if self._recipe.source == "pixels" or restart == "meta":
            return
        if restart == "round" or (first and rounds > 0 and rounds % self._recipe.restart_rounds == 0):
            fresh_weights(self.module, int(self._streams.search.integers(2**62)))

    def _fit(
        self, start: Tensor, classes_B: Tensor, objective: Objective, student: nn.Module, *, row_checks: bool
    ) -> Fit:
        """One search from z (B, Z) or from images.

        With `row_checks` it goes on without the images whose logits are not finite; where these are many, it
        ends with the images of least loss until then. Without `row_checks` nothing waits for the device:
        updates end at the first number that is not finite.
        """
        variables, make_images = self._variables(start, classes_B)
        rate = self._recipe.search_rate
        adam = self._adam(variables, rate)
        # A flag on the device: fused optimizers make no update while it is set.
        stop = adam.found_inf = torch.zeros((), device=start.device)  # type: ignore[attr-defined]
        learned = list(self.module.parameters()) if self._start is not None else []
        fit = Fit(torch.arange(len(start), device=start.device), torch.full_like(stop, torch.inf))
        fit.gradients = [torch.zeros_like(p) for p in learned]
        for step in range(self.steps):
            self._between()
            adam.param_groups[0]["lr"] = rate * (1 - self._recipe.search_decay * step / self.steps)
            loss, batch, gaps = self._look(make_images, fit.rows, classes_B, objective, student)
            while row_checks and not bool((finite_B := finite_rows(batch)).all()):
                index = finite_B.nonzero().flatten()
                if fit.batch is not None and len(index) < (1 - MAX_SHARE) * len(finite_B):
                    return fit
                fit.rows = fit.rows[index]
                if len(index) < MIN_ROWS:
                    fit.batch = batch  # nothing is left to fit, and its loss is still infinite
                    return fit
                fit.batch = None if fit.batch is None else fit.batch.rows(index)
                loss, batch, gaps = self._look(make_images, fit.rows, classes_B, objective, student)
            sound = torch.isfinite(loss.detach()) & finite_rows(batch).all()
            torch.maximum(stop, (~sound).float(), out=stop)
            keep_better(fit, torch.where(sound, loss.detach(), torch.inf), batch)
            if row_checks and not bool(sound):
                break
            fit.gaps += gaps
            adam.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            for sum_of_steps, parameter in zip(fit.gradients, learned, strict=True):
                if parameter.grad is not None:
                    sum_of_steps += parameter.grad  # noqa: PLW2901
            adam.step()
        fit.sound = not bool(stop)
        return fit

    def _look(
        self,
        make_images: Callable[[Tensor], Tensor],
        rows: Tensor,
        classes_B: Tensor,
        objective: Objective,
        student: nn.Module,
    ) -> tuple[Tensor, Batch, list[tuple[str, Tensor]]]:
        """The loss of the images at `rows` with its graph; the images and the terms' values without one."""
        gaps: list[tuple[str, Tensor]] = []
        with self._runtime.autocast(), recording(objective):
            images_BCHW = make_images(rows)
            loss, logits_BK, stages = generator_loss(
                shifted(images_BCHW) if self._recipe.fitted_views else images_BCHW,
                objective,
                student,
                lambda name, value: gaps.append((name, value.detach())),
                classes_B[rows],
            )
        images = images_BCHW.detach().to(self._runtime.storage_dtype)
        return loss, Batch(images, logits_BK.detach(), stages.stages, stages.attention), gaps

    def _finish(self, fit: Fit, origin: list[Tensor]) -> None:
        """Let the guard check the search's loss, and update the common start where one is learned."""
        loss = fit.loss if fit.sound else torch.full_like(fit.loss, torch.nan)
        if self._start is None:
            self._guard.check(loss, self._no_update, "generator")
            return
        self._restore(origin)
        # First-order MAML, as the authors' code has it: every step's gradient counts.
        for parameter, gradient in zip(self.module.parameters(), fit.gradients, strict=True):
            parameter.grad = gradient
        self._guard.check(loss, self._start, "generator")
        self._group.average_gradients(self.module.parameters())
        self._start.step()
        self._start.zero_grad(set_to_none=True)

    def _restore(self, origin: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, before in zip(self.module.parameters(), origin, strict=True):
                parameter.copy_(before)

    def _adam(self, parameters: list[nn.Parameter], rate: float) -> torch.optim.Optimizer:
        """Fused, because other optimizers do not support the flag that skips an update."""
        return torch.optim.Adam(parameters, rate, betas=(self._recipe.search_beta, 0.999), fused=True)

    def _variables(
        self, start: Tensor, classes_B: Tensor
    ) -> tuple[list[nn.Parameter], Callable[[Tensor], Tensor]]:
        """The parameters that a search fits, and the function from indices to their images."""
        if self._recipe.first_images != "noise":
            pyramid = PixelPyramid(start, self._bounds)
            return list(pyramid.parameters()), lambda rows: self._shifted(pyramid(rows))
        if self._recipe.source == "pixels":
            pixels_BCHW = nn.Parameter(start.clone())
            return [pixels_BCHW], lambda rows: self._shifted(pixels_BCHW[rows])
        weights = list(self.module.parameters())
        if self._labels is not None:
            labels = self._labels
            fresh_weights(labels, int(self._streams.search.integers(2**62)))
            labels.requires_grad_(True)
            return [*weights, *labels.parameters()], lambda rows: self.module(labels(classes_B)[rows])
        latent_BZ = nn.Parameter(start.clone())
        return [*weights, latent_BZ], lambda rows: self.module(latent_BZ[rows])

    def _shifted(self, images_BCHW: Tensor) -> Tensor:
        """All images shifted alike by up to two pixels, as in DeepInversion."""
        down, right = (int(shift) for shift in self._streams.search.integers(-2, 3, size=2))
        return images_BCHW.roll((down, right), dims=(-2, -1))

    def set_rate(self, factor: float) -> None:
        """Set the rate of the common start to `factor` times its peak; a search has the recipe's rate."""
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


def finite_rows(batch: Batch) -> Tensor:
    """Whether the teacher's logits are finite, for each image (bool)."""
    return torch.isfinite(batch.teacher_logits_BK).all(dim=1)


def keep_better(fit: Fit, loss: Tensor, batch: Batch) -> None:
    """Store `batch` in `fit` if its loss is smaller; the choice is made on the device."""
    if fit.batch is None:
        fit.loss, fit.batch = loss, batch
        return
    is_smaller = loss < fit.loss

    def select(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(is_smaller, new, old)

    fit.loss = select(loss, fit.loss)
    fit.batch = Batch(
        select(batch.images_BCHW, fit.batch.images_BCHW),
        select(batch.teacher_logits_BK, fit.batch.teacher_logits_BK),
        tuple(map(select, batch.active, fit.batch.active)),
        tuple(map(select, batch.attention, fit.batch.attention)),
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
