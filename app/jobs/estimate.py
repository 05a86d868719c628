"""What a job will cost, as far as its spec alone tells."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from pydantic import BaseModel

from app.jobs.schemas import JobSpec
from app.platform.errors import FieldProblem, InvalidBody
from app.platform.settings import get_settings
from dfad_core.contract.config import MAX_POOL_BYTES
from dfad_core.contract.evaluation_plan import EvaluationBudget, round_macs
from dfad_core.contract.inspection import Inspection, Offer
from dfad_core.contract.limits import (
    FLOAT_BYTES,
    LEAST_SLICE,
    JobMemory,
    Schedule,
    filled_batches,
    job_memory,
)
from dfad_core.contract.machine import has_gpu, usable_processors
from dfad_core.contract.methods import get_method
from dfad_core.contract.recipe import Recipe

PASSES_OF_AN_UPDATE = 3
"""A gradient step in passes forward: there, back to the inputs, back to the weights."""
MOST_SPEED_UP = 8.0
"""How much faster one thread may be than the inspection saw it: in bfloat16, or without another program."""
POOL_BYTES = 1
"""Of a value in the pool, at the least."""
BATCHES_AT_WORK = 2
"""The images of a step and their gradients."""
TRAINED_COPIES = 4
"""Of each weight: itself, its gradient, and two moments of the optimizer."""


class Estimate(BaseModel):
    """Upper bounds of the work, and its time and memory as far as the teacher's inspection tells.

    A student that the inspection did not offer counts as its teacher. A worker measures both networks itself
    before it trains, and refuses what will not end in time or does not fit.
    """

    generator_updates: int
    """Gradient steps on the images' side; none is made by the methods that learn nothing there."""
    student_updates: int
    student_images: int
    """Images that the student sees, counted again each time one is shown again."""
    max_runtime_seconds: float
    memory_bytes: int | None
    """With whole batches, in float32; without what is kept for gradients where no inspection has measured
    that. None where the input's size is unknown."""
    least_memory_bytes: int | None
    """The same for training with batches in the smallest slices, which a worker with less memory takes."""
    teacher_seconds: float | None
    """The teacher's passes over the generator's images, at the speed its inspection saw; None before one."""
    student_seconds: float | None
    """The student's updates at that speed, by its multiply-accumulates. None before an inspection."""
    evaluation_seconds: float | None
    """Measuring fidelity after training, at that speed. Exports come on top. None before an inspection."""
    steps_in_time: int | None
    """Steps of training, up to those asked for, that end before `max_runtime_seconds` at that speed. None
    before an inspection."""


def estimate(spec: JobSpec, inspection: Inspection | None = None) -> Estimate:
    """The work of `budget.steps` rounds, each with its inner steps and `student_steps` of the student."""
    recipe, rounds = _recipe(spec, inspection), spec.budget.steps
    updates = recipe.student_steps
    memory = _memory(spec, recipe, inspection)
    certain = certain_bytes(spec, inspection)
    schedule = _schedule(spec, inspection)
    return Estimate(
        generator_updates=_rounds_with_images(rounds, recipe) * recipe.inner_steps,
        student_updates=rounds * updates,
        student_images=rounds * updates * spec.training.batch_size,
        max_runtime_seconds=spec.budget.max_runtime_seconds,
        memory_bytes=certain if memory is None else memory.peak_bytes(spec.training.accumulation or 1),
        least_memory_bytes=certain if memory is None else memory.least_bytes,
        teacher_seconds=_teacher_seconds(spec, recipe, inspection),
        student_seconds=_student_seconds(spec, recipe, inspection),
        evaluation_seconds=_evaluation_seconds(spec, recipe, inspection),
        steps_in_time=None if schedule is None else schedule.rounds_in_time(spec.budget.max_runtime_seconds),
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
    after = _after_training(spec, recipe, inspection)
    return None if after is None else round(after(spec.budget.steps), 1)


def _after_training(
    spec: JobSpec, recipe: Recipe, inspection: Inspection | None
) -> Callable[[int], float] | None:
    """Time of the evaluation after so many rounds; None where the inspection does not tell it."""
    if inspection is None or inspection.timing is None or not inspection.timing.images:
        return None
    timing, teacher, shape = inspection.timing, inspection.macs, _input_shape(spec, inspection)
    if not teacher or shape is None:
        return None
    student = _student_macs(spec, inspection) or teacher
    macs = round_macs(
        teacher,
        student,
        batch=spec.training.batch_size,
        inner_steps=recipe.inner_steps,
        student_steps=recipe.student_steps,
        labelled_views=recipe.labelled_batches,
        images_every=recipe.images_every,
    )
    pass_seconds = timing.forward_milliseconds / 1000 / timing.images
    budget = EvaluationBudget(shape, teacher, student, macs)
    return partial(budget.expected_seconds, seconds_a_round=macs / teacher * pass_seconds)


def _schedule(spec: JobSpec, inspection: Inspection | None) -> Schedule | None:
    """Expected time of the job's steps at the speed of the inspection; None before one."""
    recipe, rounds = _recipe(spec, inspection), spec.budget.steps
    teacher = _teacher_seconds(spec, recipe, inspection)
    student = _student_seconds(spec, recipe, inspection)
    after = _after_training(spec, recipe, inspection)
    if teacher is None or student is None or after is None:
        return None
    return Schedule(rounds, (teacher + student) / rounds, after)


def _input_shape(spec: JobSpec, inspection: Inspection | None) -> tuple[int, int, int] | None:
    """Channels, height and width, from the spec or else from the inspection."""
    reported = inspection.input if inspection is not None else None
    return spec.input_shape() or (reported.shape if reported is not None else None)


def _offer(spec: JobSpec, inspection: Inspection) -> Offer | None:
    """The student, if the inspection offered it; others are not known before a worker has built them."""
    wanted = (spec.student.architecture, spec.student.args)
    offers = inspection.students or ()
    return next((offer for offer in offers if (offer.architecture, dict(offer.args)) == wanted), None)


def _student_macs(spec: JobSpec, inspection: Inspection) -> int | None:
    offer = _offer(spec, inspection)
    return None if offer is None else offer.macs


def _student_seconds(spec: JobSpec, recipe: Recipe, inspection: Inspection | None) -> float | None:
    timing = inspection.timing if inspection is not None else None
    if inspection is None or timing is None or not timing.images or not inspection.macs:
        return None
    share = (_student_macs(spec, inspection) or inspection.macs) / inspection.macs
    images = spec.budget.steps * recipe.student_steps * spec.training.batch_size
    return round(images * PASSES_OF_AN_UPDATE * share * timing.forward_milliseconds / timing.images / 1000, 1)


def _memory(spec: JobSpec, recipe: Recipe, inspection: Inspection | None) -> JobMemory | None:
    """By the memory of both networks' passes; None where no inspection has measured that."""
    shape = _input_shape(spec, inspection)
    if inspection is None or inspection.memory is None or shape is None:
        return None
    offer, batch = _offer(spec, inspection), spec.training.batch_size
    image_bytes = math.prod(shape) * FLOAT_BYTES
    pool = filled_batches(recipe, recipe.pool_batches, spec.budget.steps)
    return job_memory(
        recipe,
        teacher=inspection.memory,
        student=(offer.memory if offer is not None else None) or inspection.memory,
        teacher_bytes=inspection.bytes,
        student_bytes=inspection.bytes if offer is None else offer.bytes,
        pool_bytes=min(pool * batch * image_bytes, MAX_POOL_BYTES),
        image_bytes=image_bytes,
        batch_size=batch,
    )


def certain_bytes(spec: JobSpec, inspection: Inspection | None = None) -> int | None:
    """A lower bound of the memory, in bfloat16: what is certain not to fit is refused before it is queued."""
    shape = _input_shape(spec, inspection)
    if shape is None:
        return None
    recipe, values = _recipe(spec, inspection), math.prod(shape)
    batch = spec.training.batch_size
    pool = spec.training.pool_batches or 0  # the method's own shrinks to the memory there is
    images = batch * values * (pool * POOL_BYTES + BATCHES_AT_WORK * FLOAT_BYTES)
    width = spec.student.args.get("width", 0)
    parameters = width * values if spec.student.architecture == "mlp8" else 9 * width**2
    certain: int = images + parameters * FLOAT_BYTES * TRAINED_COPIES
    if inspection is not None:
        certain += inspection.bytes
        if inspection.memory is not None and recipe.inner_steps:
            certain += min(batch, LEAST_SLICE) * inspection.memory.gradient_bytes // 2
    return certain


def check_memory(spec: JobSpec, inspection: Inspection | None = None) -> None:
    """Raise InvalidBody `memory_limit` for a job that no worker has the memory for."""
    limit, needed = get_settings().max_job_memory_bytes, certain_bytes(spec, inspection)
    if needed is not None and needed > limit:
        pointer = "/student/args" if spec.student.args else "/training"
        problem = FieldProblem(pointer, f"needs at least {needed} bytes; a job may have {limit}")
        raise InvalidBody("The job needs too much memory.", problem, code="memory_limit")


def check_deadline(spec: JobSpec, inspection: Inspection | None = None) -> None:
    """Raise InvalidBody `deadline_too_short` for a job that is certain not to end in time.

    That is certain only where all workers are on this machine, as the one that inspected the teacher was, and
    no GPU is; for the teacher's passes alone, and by a wide margin. Elsewhere the job's worker decides, which
    measures both networks before it trains.
    """
    if get_settings().broker_url is not None or has_gpu() or inspection is None or inspection.timing is None:
        return
    recipe, budget, schedule = _recipe(spec, inspection), spec.budget, _schedule(spec, inspection)
    teacher_seconds = _teacher_seconds(spec, recipe, inspection)
    if schedule is None or teacher_seconds is None:
        return
    faster = MOST_SPEED_UP * max(1.0, usable_processors() / max(1, inspection.timing.threads))
    least = teacher_seconds / faster
    if budget.train_seconds is not None:
        least = min(least, budget.train_seconds)
    if least > budget.max_runtime_seconds:
        problem = FieldProblem("/budget", schedule.too_late(budget.max_runtime_seconds))
        raise InvalidBody("The job cannot end before its deadline.", problem, code="deadline_too_short")
