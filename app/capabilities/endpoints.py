"""`/capabilities`."""

from __future__ import annotations

import dataclasses
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from app.config import get_settings
from app.health.service import live_workers
from app.jobs.schemas import MAX_LABELS, JobSpec
from dfad_core.contract.architectures import ARCHITECTURES
from dfad_core.contract.formats import FORMATS, STUDENT_FORMATS, TEACHER_FORMATS
from dfad_core.contract.methods import METHODS, Method

router = APIRouter(tags=["capabilities"])


class MethodView(BaseModel):
    """A method of the catalogue: what a client needs to choose one. How it is composed is in its recipe."""

    name: str
    title: str
    source: str
    """The paper, or who else."""
    summary: str
    student_steps: int
    """Student updates a round, unless the job sets them. Here and below: for a teacher of grey images with
    batch norm; `best` and `collages` have others for other teachers."""
    pool_batches: int
    """Batches in the pool, unless the job sets them."""
    inner_steps: int
    """Gradient steps spent on the images of one round, unless the job sets them."""
    parameters: dict[str, Any]
    """JSON Schema of `method` in a job, the same for all methods."""


class ArchitectureView(BaseModel):
    """An architecture of the catalogue, without where its class lies."""

    name: str
    title: str
    source: str
    input_shape: tuple[int, int, int]
    min_side: int
    fixed_sides: tuple[int, ...]
    patch: int
    """If more than 1, it takes square images alone whose side is a multiple of it."""
    args: dict[str, dict[str, float | None]]
    """Integer arguments with their bounds."""
    usual_width: int | None
    family: str


class FormatView(BaseModel):
    """A file format of the catalogue, without where its code lies."""

    name: str
    title: str
    extra: str | None
    reads: bool
    """Whether a teacher may come in it."""
    writes: bool
    """Whether a student can be had in it."""
    suffix: str
    """Ending of a student's file name."""
    media_type: str
    needs: tuple[str, ...]
    """Formats that it is made from."""
    student: str | None
    """The field of a job's `student` that it takes; null: a student of any kind."""


class Capabilities(BaseModel):
    """Everything that a job may name, and the limits."""

    methods: list[MethodView]
    architectures: list[ArchitectureView]
    formats: dict[str, list[str]]
    """Names, of `teacher` and `student`."""
    file_formats: list[FormatView]
    devices: list[str]
    limits: dict[str, float]
    spec_schema: dict[str, Any]


def _method_view(row: Method, parameters: dict[str, Any]) -> MethodView:
    return MethodView(
        name=row.name,
        title=row.title,
        source=row.source,
        summary=row.summary,
        student_steps=row.recipe.student_steps,
        pool_batches=row.recipe.pool_batches,
        inner_steps=row.recipe.inner_steps,
        parameters=parameters,
    )


@router.get("/capabilities")
def capabilities() -> Capabilities:
    """Methods with the schema of their parameters, architectures, formats, devices, limits."""
    settings = get_settings()
    schema = JobSpec.model_json_schema()
    parameters = schema["$defs"]["MethodConfig"]
    devices = {device for worker in live_workers() for device in worker.report.devices}
    return Capabilities(
        methods=[_method_view(row, parameters) for row in METHODS.values()],
        architectures=[ArchitectureView(**dataclasses.asdict(row)) for row in ARCHITECTURES.values()],
        formats={
            "teacher": list(TEACHER_FORMATS),
            "student": list(STUDENT_FORMATS),
        },
        file_formats=[FormatView(**dataclasses.asdict(row)) for row in FORMATS.values()],
        devices=sorted(devices),
        limits={
            "upload_bytes": settings.max_upload_bytes,
            "json_bytes": settings.max_json_bytes,
            "metadata_entries": MAX_LABELS,
            "attempts": settings.max_attempts,
        },
        spec_schema=schema,
    )
