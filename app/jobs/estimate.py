"""What a job will cost, as far as its spec alone tells."""

from __future__ import annotations

from pydantic import BaseModel

from app.jobs.schemas import JobSpec
from dfad_core.catalog import get_method


class Estimate(BaseModel):
    """Upper bounds of the work. Time depends on the worker's machine and is not guessed."""

    generator_updates: int
    """Gradient steps on the images' side; none is made by the methods that learn nothing there."""
    student_updates: int
    student_images: int
    """Images that the student sees, counted again each time one is shown again."""
    max_runtime_seconds: float


def estimate(spec: JobSpec) -> Estimate:
    """The work of `budget.steps` rounds, each with its inner steps and `student_steps` of the student."""
    method, training = get_method(spec.method.name), spec.training
    rounds, updates = spec.budget.steps, training.student_steps or method.student_steps
    inner = training.inner_steps or method.inner_steps
    return Estimate(
        generator_updates=rounds * inner,
        student_updates=rounds * updates,
        student_images=rounds * updates * spec.training.batch_size,
        max_runtime_seconds=spec.budget.max_runtime_seconds,
    )
