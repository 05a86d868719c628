"""`/capabilities`."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext
from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel

from app.access.keys.principal import Principal
from app.http.fields import MAX_LABELS
from app.jobs.schemas import JobSpec
from app.models.tenancy import as_system
from app.platform.db import read_scope
from app.platform.settings import get_settings
from app.workers.seen import SeenWorker, seen_workers, waiting_without_worker
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


class WorkerView(BaseModel):
    """A worker that is alive or was within the last hour."""

    name: str | None
    """Host and process, as `gpu-1:4711`. Null for all but the operator, as are version and revision."""
    alive: bool
    seen_seconds_ago: float
    """Age of its last sign of life; two that are missed make it silent."""
    devices: list[str]
    """Devices that it computes on."""
    takes: list[str]
    """Devices of the jobs that it takes."""
    threads: int | None
    """CPU threads of a job that begins now."""
    version: str | None
    revision: str | None
    """Of its sources."""


class Capabilities(BaseModel):
    """Everything that a job may name, and the limits."""

    methods: list[MethodView]
    architectures: list[ArchitectureView]
    formats: dict[str, list[str]]
    """Names, of `teacher` and `student`."""
    file_formats: list[FormatView]
    devices: list[str]
    """Of the workers that are alive."""
    workers: list[WorkerView]
    """Those that are alive, then those that fell silent within the last hour."""
    waiting_without_worker: dict[str, int]
    """Number of queued jobs by their device, for devices that no living worker takes: the tenant's own, for
    the operator all."""
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


def _worker_view(worker: SeenWorker, principal: Principal) -> WorkerView:
    report, shown = worker.row.report, principal.operator
    return WorkerView(
        name=f"{report.host}:{'?' if report.pid is None else report.pid}" if shown else None,
        alive=worker.alive,
        seen_seconds_ago=round(worker.seconds_ago, 1),
        devices=list(report.devices),
        takes=list(report.takes),
        threads=report.threads,
        version=report.version if shown else None,
        revision=report.revision if shown else None,
    )


def _workers(principal: Principal) -> tuple[list[SeenWorker], dict[str, int]]:
    with as_system() if principal.operator else nullcontext(), read_scope() as session:
        workers = seen_workers(session)
        return workers, waiting_without_worker(session, [worker.row for worker in workers if worker.alive])


@router.get("/capabilities")
def capabilities(request: Request) -> Capabilities:
    """Methods with the schema of their parameters, architectures, formats, devices, limits."""
    settings = get_settings()
    schema = JobSpec.model_json_schema()
    parameters = schema["$defs"]["MethodConfig"]
    principal: Principal = request.state.principal
    workers, waiting = _workers(principal)
    devices = {device for worker in workers if worker.alive for device in worker.row.report.devices}
    return Capabilities(
        methods=[_method_view(row, parameters) for row in METHODS.values()],
        architectures=[ArchitectureView(**dataclasses.asdict(row)) for row in ARCHITECTURES.values()],
        formats={
            "teacher": list(TEACHER_FORMATS),
            "student": list(STUDENT_FORMATS),
        },
        file_formats=[FormatView(**dataclasses.asdict(row)) for row in FORMATS.values()],
        devices=sorted(devices),
        workers=[_worker_view(worker, principal) for worker in workers],
        waiting_without_worker=waiting,
        limits={
            "upload_bytes": settings.max_upload_bytes,
            "json_bytes": settings.max_json_bytes,
            "metadata_entries": MAX_LABELS,
            "attempts": settings.max_attempts,
        },
        spec_schema=schema,
    )
