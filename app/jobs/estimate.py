"""What a job will cost, as far as its spec alone tells."""

from __future__ import annotations

from pydantic import BaseModel

from app.jobs.schemas import JobSpec


class Estimate(BaseModel):
    """Upper bounds of the work. Time depends on the worker's machine and is not guessed."""

    generator_updates: int
    student_updates: int
    student_images: int
    """Images that the student sees, counted again each time one is shown again."""
    max_runtime_seconds: float


def estimate(spec: JobSpec) -> Estimate:
    """The work of `budget.steps` rounds, each one generator update and `student_steps` of the student."""
    rounds, updates = spec.budget.steps, spec.training.student_steps
    return Estimate(
        generator_updates=rounds,
        student_updates=rounds * updates,
        student_images=rounds * updates * spec.training.batch_size,
        max_runtime_seconds=spec.budget.max_runtime_seconds,
    )
