"""The stage of a run that follows training: what is measured of a session's student, and what that costs."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import TYPE_CHECKING

from dfad_core.catalog import get_method
from dfad_core.errors import Stopped
from dfad_core.evaluation.cost import cost
from dfad_core.evaluation.fidelity import Fidelity, measure_fidelity
from dfad_core.evaluation.pace import Pace
from dfad_core.evaluation.plan import EvaluationBudget, bound_seconds, round_macs
from dfad_core.evaluation.suite import held_out_images, makers
from dfad_core.hooks import Hooks
from dfad_core.sampling.streams import evaluation_seed
from dfad_core.session import Session

if TYPE_CHECKING:
    from dfad_core.trainer import DistillResult

logger = logging.getLogger(__name__)


def evaluation_budget(session: Session) -> EvaluationBudget:
    """What the two networks cost, and a round of their training."""
    training, shape = session.config.training, session.config.input.shape
    teacher, student = cost(session.teacher, shape).macs, cost(session.student, shape).macs
    inner_steps = training.inner_steps or get_method(session.config.method.name).inner_steps
    a_round = round_macs(
        teacher,
        student,
        batch=training.batch_size,
        inner_steps=inner_steps,
        student_steps=session.student_steps,
    )
    return EvaluationBudget(shape, teacher, student, a_round)


def evaluate(session: Session, hooks: Hooks, result: DistillResult, budget: EvaluationBudget) -> None:
    """Fidelity and held-out images into the result, as far as a stop and the clock let it come."""
    shape, seed = session.config.input.shape, evaluation_seed(session.config.seed)
    generator, latent_dim = session.learned_generator, session.latent_dim
    plan, bound = budget.plan(result.steps), bound_seconds(result.seconds)
    sources = makers(shape, seed, session.runtime.device, generator, latent_dim)
    a_round = result.seconds / max(1, result.steps)
    pace = Pace(
        hooks,
        "evaluating",
        total=plan.passes(len(sources)),
        bound_seconds=bound,
        expected_seconds=budget.fidelity_seconds(result.steps, a_round),
        later_seconds=budget.other_seconds(a_round) + hooks.later_seconds,
    )
    found = Fidelity(complete=False)
    try:
        found = measure_fidelity(
            session.teacher,
            session.student,
            sources,
            shape=shape,
            seed=seed,
            num_images=plan.images,
            path_images=plan.path_images,
            pace=pace,
        )
    except Stopped as stopped:
        logger.info("evaluation is left out: %s", stopped.message)
    result.fidelity = found.figures
    result.evaluation = {
        "images": plan.images,
        "measured": found.images,
        "seconds": round(pace.seconds, 1),
        "bound_seconds": round(bound, 1),
        "complete": found.complete,
    }
    if found.figures:
        with suppress(Stopped):  # whoever goes on from here asks again
            result.synthetic_BCHW = held_out_images(shape, seed, generator, latent_dim, between=pace)
