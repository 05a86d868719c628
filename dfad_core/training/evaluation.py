"""Evaluation of a run's student after training, and its expected duration."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from torch import nn

from dfad_core.contract.errors import Stopped
from dfad_core.contract.evaluation_plan import EvaluationBudget, bound_seconds, round_macs
from dfad_core.data import PoolImages
from dfad_core.data.random_streams import evaluation_seed
from dfad_core.evaluation.fidelity import Fidelity, measure_fidelity
from dfad_core.evaluation.held_out import held_out_images
from dfad_core.evaluation.judge import UNMEASURED, predicted, unpredicted
from dfad_core.hooks import Hooks, Pace
from dfad_core.training.run_state import RunState

if TYPE_CHECKING:
    from dfad_core.hooks import DistillResult

logger = logging.getLogger(__name__)


def evaluation_budget(run: RunState) -> EvaluationBudget:
    """Cost of the two networks and of a round of their training, as the budget of the evaluation."""
    teacher, student, recipe = run.teacher_macs, run.student_macs, run.recipe
    a_round = round_macs(
        teacher,
        student,
        batch=run.config.training.batch_size,
        inner_steps=recipe.inner_steps,
        student_steps=recipe.student_steps,
        labelled_views=recipe.labelled_batches,
        images_every=recipe.images_every,
    )
    return EvaluationBudget(run.config.input.shape, teacher, student, a_round)


def _trained_source(run: RunState) -> tuple[nn.Module | None, int]:
    """The module that makes images like those of the training, None where they are drawn at random; Z."""
    if run.search_phase is not None and len(run.pool) > 0:
        return PoolImages(run.pool.recent(len(run.pool))), PoolImages.latent_dim
    return (None if run.generator_phase is None else run.generator), run.latent_dim


def evaluate(run: RunState, hooks: Hooks, result: DistillResult, budget: EvaluationBudget) -> None:
    """Add prediction and held-out images to the result, as far as the time limit or a stop allows."""
    shape, seed = run.config.input.shape, evaluation_seed(run.config.seed)
    generator, latent_dim = _trained_source(run)
    plan, bound = budget.plan(result.steps), bound_seconds(result.seconds)
    a_round = result.seconds / max(1, result.steps)
    pace = Pace(
        hooks,
        "evaluating",
        total=plan.passes,
        bound_seconds=bound,
        expected_seconds=budget.fidelity_seconds(result.steps, a_round),
        later_seconds=budget.other_seconds(a_round) + hooks.later_seconds,
    )
    fidelity, stop = Fidelity(complete=False), False
    try:
        fidelity = measure_fidelity(
            run.teacher,
            run.student,
            shape=shape,
            pixels=run.pixels,
            num_images=plan.images,
            pace=pace,
        )
    except Stopped as stopped:
        logger.info("evaluation is left out: %s", stopped.message)
        stop = True
    result.fidelity = fidelity.figures
    result.judge_sets = fidelity.sets
    if fidelity.complete:
        result.prediction = predicted(fidelity.figures, shape, run.config.num_classes, plan.images)
    else:
        result.prediction = unpredicted(UNMEASURED if stop else _too_late(bound))
    result.evaluation = {
        "images": plan.images,
        "measured": {source: len(asked.images_BCHW) for source, asked in fidelity.sets.items()},
        "seconds": round(pace.seconds, 1),
        "bound_seconds": round(bound, 1),
        "complete": fidelity.complete,
    }
    if fidelity.figures:
        with suppress(Stopped):  # the caller's next call of `should_stop` returns the reason again
            result.synthetic_BCHW = held_out_images(
                shape, seed, generator, latent_dim, between=pace, pixels=run.pixels
            )


def _too_late(bound: float) -> str:
    return f"The evaluation was ended after {bound:,.0f} s, before the judge had seen all of its images."
