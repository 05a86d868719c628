"""What a job will cost, as far as its spec alone tells."""

from __future__ import annotations

import math

from pydantic import BaseModel

from app.config import get_settings
from app.errors import FieldProblem, InvalidBody
from app.jobs.schemas import JobSpec
from dfad_core.contract.evaluation_plan import EvaluationBudget, round_macs
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.methods import get_method
from dfad_core.contract.recipe import Recipe

FLOAT_BYTES = 4
POOL_BYTES = 1
"""Of a value in the pool, at the least."""
BATCHES_AT_WORK = 2
"""The images of a step and their gradients."""
TRAINED_COPIES = 4
"""Of each weight: itself, its gradient, and two moments of the optimizer."""


class Estimate(BaseModel):
    """Upper bounds of the work; the student's own time depends on the worker's machine and is not guessed."""

    generator_updates: int
    """Gradient steps on the images' side; none is made by the methods that learn nothing there."""
    student_updates: int
    student_images: int
    """Images that the student sees, counted again each time one is shown again."""
    max_runtime_seconds: float
    memory_bytes: int | None
    """Of the images that are kept and of the student in training; None where the input's size is unknown."""
    teacher_seconds: float | None
    """The teacher's passes over the generator's images, at the speed its inspection saw; None before one."""
    evaluation_seconds: float | None
    """Measuring fidelity after training, at that speed; a student that the inspection did not offer counts as
    its teacher. Exports come on top. None before an inspection."""


def estimate(spec: JobSpec, inspection: Inspection | None = None) -> Estimate:
    """The work of `budget.steps` rounds, each with its inner steps and `student_steps` of the student."""
    recipe, rounds = _recipe(spec, inspection), spec.budget.steps
    updates = recipe.student_steps
    return Estimate(
        generator_updates=_rounds_with_images(rounds, recipe) * recipe.inner_steps,
        student_updates=rounds * updates,
        student_images=rounds * updates * spec.training.batch_size,
        max_runtime_seconds=spec.budget.max_runtime_seconds,
        memory_bytes=memory_bytes(spec, inspection),
        teacher_seconds=_teacher_seconds(spec, recipe, inspection),
        evaluation_seconds=_evaluation_seconds(spec, recipe, inspection),
    )


def _recipe(spec: JobSpec, inspection: Inspection | None) -> Recipe:
    """The method's recipe for the teacher as far as it is known, with the job's own amounts."""
    has_bn = inspection is None or inspection.bn_statistics
    shape = _input_shape(spec, inspection)
    channels = shape[0] if shape is not None else 1
    recipe = get_method(spec.method.name).recipe_for(teacher_has_bn=has_bn, channels=channels)
    return recipe.with_settings(spec.training)


def _rounds_with_images(rounds: int, recipe: Recipe) -> int:
    return -(-rounds // recipe.images_every)


def _teacher_seconds(spec: JobSpec, recipe: Recipe, inspection: Inspection | None) -> float | None:
    """Each inner step takes one pass there and back, each batch of new images one more to label it.

    With single images the teacher labels batches of views as well.
    """
    timing = inspection.timing if inspection is not None else None
    if timing is None or not timing.images:
        return None
    forward, back = timing.forward_milliseconds, timing.backward_milliseconds
    rounds = spec.budget.steps
    new = _rounds_with_images(rounds, recipe) * (recipe.inner_steps * (forward + back) + forward)
    views = rounds * recipe.labelled_batches * forward
    return round((new + views) * spec.training.batch_size / timing.images / 1000, 1)


def _evaluation_seconds(spec: JobSpec, recipe: Recipe, inspection: Inspection | None) -> float | None:
    if inspection is None or inspection.timing is None or not inspection.timing.images:
        return None
    timing, teacher, shape = inspection.timing, inspection.macs, _input_shape(spec, inspection)
    if not teacher or shape is None:
        return None
    student = _student_macs(spec, inspection) or teacher
    batch, rounds = spec.training.batch_size, spec.budget.steps
    macs = round_macs(
        teacher,
        student,
        batch=batch,
        inner_steps=recipe.inner_steps,
        student_steps=recipe.student_steps,
        labelled_views=recipe.labelled_batches,
        images_every=recipe.images_every,
    )
    pass_seconds = timing.forward_milliseconds / 1000 / timing.images
    budget = EvaluationBudget(shape, teacher, student, macs)
    return round(budget.expected_seconds(rounds, macs / teacher * pass_seconds), 1)


def _input_shape(spec: JobSpec, inspection: Inspection | None) -> tuple[int, int, int] | None:
    """Channels, height and width, from the spec or else from the inspection."""
    reported = inspection.input if inspection is not None else None
    return spec.input_shape() or (reported.shape if reported is not None else None)


def _student_macs(spec: JobSpec, inspection: Inspection) -> int | None:
    """Of a student that the inspection offered; others are not known before a worker has built them."""
    wanted = (spec.student.architecture, spec.student.args)
    offers = inspection.students or ()
    return next((offer.macs for offer in offers if (offer.architecture, dict(offer.args)) == wanted), None)


def memory_bytes(spec: JobSpec, inspection: Inspection | None = None) -> int | None:
    """A lower bound, from what is known: what is certain not to fit is refused before it is queued."""
    shape = _input_shape(spec, inspection)
    if shape is None:
        return None
    values, pool = math.prod(shape), _recipe(spec, inspection).pool_batches
    images: int = spec.training.batch_size * values * (pool * POOL_BYTES + BATCHES_AT_WORK * FLOAT_BYTES)
    width = spec.student.args.get("width", 0)
    parameters = width * values if spec.student.architecture == "mlp8" else 9 * width**2
    teacher = inspection.bytes if inspection is not None else 0
    return images + teacher + parameters * FLOAT_BYTES * TRAINED_COPIES


def check_memory(spec: JobSpec) -> None:
    """Raise InvalidBody `memory_limit` for a job that no worker has the memory for."""
    limit, needed = get_settings().max_job_memory_bytes, memory_bytes(spec)
    if needed is not None and needed > limit:
        pointer = "/student/args" if spec.student.args else "/training"
        problem = FieldProblem(pointer, f"needs at least {needed} bytes; a job may have {limit}")
        raise InvalidBody("The job needs too much memory.", problem, code="memory_limit")
