"""What the server answers, as frozen dataclasses.

Fields may be added to the contract at any time: what is unknown here is kept in `raw`, what is
missing gets its default.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

from dfad_client.results import Inspection, JobResult

Json = dict[str, Any]

TERMINAL_EVENTS = frozenset({"job.succeeded", "job.failed", "job.cancelled"})
TERMINAL_STATUSES = frozenset({"succeeded", "failed", "cancelled"})


class Method(TypedDict, total=False):
    """A method of the catalogue."""

    name: str
    title: str
    source: str
    """The paper, or who else."""
    summary: str
    student_steps: int
    """Student updates a round, unless the job sets them."""
    pool_batches: int
    """Batches in the pool, unless the job sets them."""
    inner_steps: int
    """Gradient steps spent on the images of one round, unless the job sets them."""
    parameters: Json
    """JSON Schema of `method` in a job."""


class Architecture(TypedDict, total=False):
    """An architecture of the catalogue."""

    name: str
    title: str
    source: str
    input_shape: list[int]
    """Default input: channels, height, width."""
    min_side: int
    """Smallest height and width it accepts."""
    fixed_sides: list[int]
    """If not empty, the only square sides it accepts."""
    patch: int
    """If more than 1, it accepts square inputs alone whose side is a multiple of it."""
    args: dict[str, dict[str, float | None]]
    """Integer arguments with their bounds."""
    usual_width: int | None
    family: str


class FileFormat(TypedDict, total=False):
    """A file format of teachers and students."""

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
    needs: list[str]
    """Formats that it is made from."""
    student: str | None
    """The field of a job's `student` that it takes; None: a student of any kind."""


class Worker(TypedDict, total=False):
    """A worker that is alive or was within the last hour."""

    name: str | None
    """Host and process. None for all but the operator, as are version and revision."""
    alive: bool
    seen_seconds_ago: float
    """Age of its last sign of life."""
    devices: list[str]
    """Devices that it computes on."""
    takes: list[str]
    """Devices of the jobs that it takes."""
    threads: int | None
    """CPU threads of a job that begins now."""
    version: str | None
    revision: str | None


class Capabilities(TypedDict, total=False):
    """What a job may name, and the limits."""

    methods: list[Method]
    architectures: list[Architecture]
    formats: dict[str, list[str]]
    """Names, of `teacher` and `student`."""
    file_formats: list[FileFormat]
    devices: list[str]
    """Of the workers that are alive: `cpu`, `cuda`."""
    workers: list[Worker]
    """Those that are alive, then those that fell silent within the last hour."""
    waiting_without_worker: dict[str, int]
    """Number of queued jobs by their device, for devices that no living worker takes."""
    limits: dict[str, float]
    spec_schema: Json


class Limits(TypedDict, total=False):
    """What one tenant may have at a time; None: no limit."""

    queued_jobs: int | None
    running_jobs: int | None
    stored_bytes: int | None
    requests_per_minute: int | None


class Quota(TypedDict, total=False):
    """A tenant's quota, or everybody's (`*`)."""

    tenant_id: str
    holds: Limits
    """What holds."""
    stored: Limits | None
    """What was set while the service ran; None: nothing."""
    configured: Limits | None
    """What DFAD_QUOTAS of the server has for it; None: nothing."""
    updated_at: str | None


class Use(TypedDict, total=False):
    """What a tenant has at this moment, by the names of the limits."""

    queued_jobs: int
    running_jobs: int
    stored_bytes: int


class MonthlyUsage(TypedDict, total=False):
    """What one tenant used in one month."""

    month: str
    """Of UTC, as in `2026-11`."""
    jobs_submitted: int
    jobs_succeeded: int
    device_seconds: dict[str, float]
    """By kind of device, `cpu` and `cuda`: for how long attempts held a worker."""
    requests: int
    peak_stored_bytes: int


class TenantUsage(TypedDict, total=False):
    """A tenant's quota, what it has now, and what it used in each month, the latest first."""

    tenant_id: str
    quota: Limits
    in_use: Use
    months: list[MonthlyUsage]


class Metrics(TypedDict):
    """The series of a training: points with `step`, `seconds` and a value for each name."""

    data: list[dict[str, float]]


class PhaseProgress(TypedDict):
    """How far evaluation or export is."""

    done: int
    total: int
    unit: str
    """What is counted: `images` or `formats`."""
    percent: float


@dataclass(frozen=True)
class Progress:
    """How far a job is. `eta_seconds` is the time to its end, None until it can be told.

    `percent` is of the training. `phase` is there while evaluation or export goes on.
    """

    step: int = 0
    total_steps: int = 0
    percent: float = 0.0
    eta_seconds: float | None = None
    phase: PhaseProgress | None = None

    @classmethod
    def of(cls, raw: Json) -> Progress:
        """From JSON."""
        return cls(
            step=raw.get("step") or 0,
            total_steps=raw.get("total_steps") or 0,
            percent=raw.get("percent") or 0.0,
            eta_seconds=raw.get("eta_seconds"),
            phase=raw.get("phase"),
        )


@dataclass(frozen=True)
class JobError:
    """Why a job failed: a stable code, a sentence, and the setting or tensor at fault if there is one."""

    code: str
    message: str
    param: str | None = None


def _error(raw: Json) -> JobError | None:
    error = raw.get("error")
    return JobError(error["code"], error["message"], error.get("param")) if error else None


@dataclass(frozen=True)
class Measurement:
    """Accuracy on labelled images that came after a job's end; its figures are the result's `accuracy`."""

    status: str
    """waiting, succeeded or failed"""
    filename: str
    """Of the images."""
    error: JobError | None = None
    """Why it failed."""

    @classmethod
    def of(cls, raw: Json) -> Measurement:
        """From JSON."""
        return cls(raw["status"], raw.get("filename") or "", _error(raw))

    @property
    def waits(self) -> bool:
        """Whether the figures are still to come."""
        return self.status == "waiting"


def _sentence(raw: Json) -> str | None:
    """What is waited for."""
    return (raw.get("waiting_for") or {}).get("message")


@dataclass(frozen=True)
class Job:
    """One request to distil a teacher into a student."""

    id: str
    status: str
    phase: str | None
    attempt: int
    created_at: str | None
    started_at: str | None
    finished_at: str | None
    progress: Progress
    queue_position: int | None
    waiting_for: str | None
    """A sentence, while it is queued."""
    metrics: dict[str, float]
    result: JobResult | None
    measurement: Measurement | None
    """The latest after its end."""
    error: JobError | None
    spec: Json
    resolved_spec: Json
    metadata: dict[str, str]
    raw: Json = field(repr=False, compare=False)
    tenant_id: str | None = None
    """Whose it is; None from servers of earlier versions."""

    @classmethod
    def of(cls, raw: Json) -> Job:
        """From JSON."""
        measurement = raw.get("measurement")
        return cls(
            id=raw["id"],
            status=raw["status"],
            phase=raw.get("phase"),
            attempt=raw.get("attempt") or 0,
            created_at=raw.get("created_at"),
            started_at=raw.get("started_at"),
            finished_at=raw.get("finished_at"),
            progress=Progress.of(raw.get("progress") or {}),
            queue_position=raw.get("queue_position"),
            waiting_for=_sentence(raw),
            metrics=raw.get("metrics") or {},
            result=raw.get("result"),
            measurement=Measurement.of(measurement) if measurement else None,
            error=_error(raw),
            spec=raw.get("spec") or {},
            resolved_spec=raw.get("resolved_spec") or {},
            metadata=raw.get("metadata") or {},
            raw=raw,
            tenant_id=raw.get("tenant_id"),
        )

    @property
    def terminal(self) -> bool:
        """Whether the job has ended, well or not."""
        return self.status in TERMINAL_STATUSES

    @property
    def succeeded(self) -> bool:
        """Whether the job has ended well."""
        return self.status == "succeeded"


@dataclass(frozen=True)
class Event:
    """One line of a job's log; `seq` grows by one from line to line."""

    seq: int
    type: str
    data: Json
    created_at: str | None = None

    @classmethod
    def of(cls, raw: Json) -> Event:
        """From JSON."""
        return cls(int(raw["seq"]), str(raw["type"]), raw.get("data") or {}, raw.get("created_at"))

    @property
    def terminal(self) -> bool:
        """Whether nothing comes after it."""
        return self.type in TERMINAL_EVENTS


@dataclass(frozen=True)
class Artifact:
    """Immutable bytes that a job made, with their SHA-256 in hexadecimal."""

    id: str
    kind: str
    bytes: int
    sha256: str
    filename: str | None
    partial: bool
    step: int | None
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Json) -> Artifact:
        """From JSON."""
        return cls(
            id=raw["id"],
            kind=raw["kind"],
            bytes=raw["bytes"],
            sha256=raw["sha256"],
            filename=raw.get("filename"),
            partial=bool(raw.get("partial")),
            step=raw.get("step"),
            raw=raw,
        )


@dataclass(frozen=True)
class Teacher:
    """A teacher uploaded by itself: inspecting, ready or rejected, with what was found in it."""

    id: str
    status: str
    waiting_for: str | None
    """A sentence, while it is inspecting."""
    inspection: Inspection | None
    error: JobError | None
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Json) -> Teacher:
        """From JSON."""
        return cls(
            id=raw["id"],
            status=raw["status"],
            waiting_for=_sentence(raw),
            inspection=raw.get("inspection"),
            error=_error(raw),
            raw=raw,
        )
