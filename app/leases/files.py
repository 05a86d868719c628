"""Files of what a worker has claimed: those that it reads, and those that it brings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from app.files.artifacts import blobs
from app.files.artifacts.blobs import Blob
from app.jobs.lifecycle import Claim
from app.jobs.measurements import MEASURED_REPORT, MeasurementClaim
from app.jobs.series import Points, readings
from app.models import Artifact, Teacher
from app.models.artifact import INPUTS, LABELLED, store_of_new_bytes
from app.platform.db import read_scope
from app.platform.ids import new_id
from app.storage import IntegrityError, Stored, get_store
from app.teachers.inspections import InspectionClaim
from dfad_core.contract.formats import FORMATS, STUDENT_FORMATS
from dfad_core.contract.serialization import JsonObject

Between = Callable[[], object]
Claimed = Claim | InspectionClaim | MeasurementClaim
"""What a worker may hold."""
MANIFEST = "manifest"
"""Written by the supervisor; no runner can send one."""
STUDENT_KINDS = {FORMATS[name].artifact_kind: name for name in STUDENT_FORMATS}
"""Name of the format by the kind of the student's file."""
ARTIFACTS = {
    **{
        kind: (f"student{FORMATS[name].suffix}", FORMATS[name].media_type)
        for kind, name in STUDENT_KINDS.items()
    },
    "report": ("report.html", "text/html; charset=utf-8"),
    "samples": ("samples.png", "image/png"),
}
"""File name and media type by the kind of a finished file: whoever brings one does not say them."""
MOST_BYTES = 16 * 2**30
"""Of one file that a worker brings."""
MOST_PICTURE_BYTES, MOST_REPORT_BYTES = 64 * 2**20, 256 * 2**20
CURVE_POINTS = 500
"""Readings of the training in the curves of a measurement's report, about."""


def nothing() -> None:
    """What happens between two parts of a file if nothing has to."""


@dataclass(frozen=True)
class SourceFile:
    """A stored file that a worker reads."""

    id: str
    """Of its artifact."""
    kind: str
    filename: str
    bytes: int
    sha256: str
    step: int | None = None
    blob_id: str = ""
    """Under which the store has it; of no use to who reads it over HTTP, as is `store`."""
    store: str | None = None
    """That has it; None: it is looked for."""


@dataclass(frozen=True)
class Sources:
    """All that a worker reads of what it has claimed."""

    teacher_spec: JsonObject
    """What was said of the teacher's file when it was uploaded."""
    files: tuple[SourceFile, ...]
    """The teacher's first; checkpoints begin with the newest, samples with the oldest."""
    history: tuple[JsonObject, ...] = ()
    """Readings of the training, for the report of a measurement."""

    def of(self, *kinds: str) -> list[SourceFile]:
        """The files of these kinds."""
        return [file for file in self.files if file.kind in kinds]


@dataclass(frozen=True)
class StoredFile:
    """Bytes that the store keeps for a worker, before a row owns them."""

    id: str
    """Of the artifact to be."""
    kind: str
    filename: str
    media_type: str
    bytes: int
    sha256: str
    step: int | None = None
    store: str | None = None
    """That keeps them."""
    role: str = ""
    """For which they were brought; see `described`."""
    receipt: str = ""
    """What proves all this to the server; empty where the worker itself holds the database."""

    def row(self, tenant_id: str, job_id: str) -> Artifact:
        """Its artifact, which is not in the database yet."""
        return Artifact(
            id=self.id,
            tenant_id=tenant_id,
            job_id=job_id,
            store=self.store,
            kind=self.kind,
            filename=self.filename,
            media_type=self.media_type,
            bytes=self.bytes,
            sha256=self.sha256,
            partial=False,
            step=self.step,
            details={},
            created_at=datetime.min,
        )


def job_sources(claim: Claim) -> Sources:
    """Of an attempt: the teacher, the files that came with the job, and its checkpoints."""
    with read_scope() as session:
        teacher = session.get_one(Teacher, claim.teacher_id)
        file = session.get_one(Artifact, teacher.artifact_id)
        mine = select(Artifact).where(Artifact.job_id == claim.job_id)
        inputs = session.scalars(mine.where(Artifact.kind.in_(INPUTS)))
        newest = mine.where(Artifact.kind == "checkpoint").order_by(
            Artifact.created_at.desc(), Artifact.id.desc()
        )
        rows = [file, *inputs, *session.scalars(newest)]
        return Sources(dict(teacher.spec), tuple(map(_source, rows)))


def teacher_sources(teacher_id: str) -> Sources:
    """Of an inspection: the teacher alone."""
    with read_scope() as session:
        teacher = session.get_one(Teacher, teacher_id)
        file = session.get_one(Artifact, teacher.artifact_id)
        return Sources(dict(teacher.spec), (_source(file),))


def measurement_sources(claim: MeasurementClaim) -> Sources:
    """Of a measurement: the teacher, the labelled images, the job's students and pictures."""
    with read_scope() as session:
        teacher = session.get_one(Teacher, claim.teacher_id)
        file = session.get_one(Artifact, teacher.artifact_id)
        mine = select(Artifact).where(Artifact.job_id == claim.job_id)
        images = list(session.scalars(mine.where(Artifact.kind == LABELLED)))
        shown = mine.where(
            Artifact.published_at.is_not(None), Artifact.kind.in_((*STUDENT_KINDS, "samples"))
        ).order_by(Artifact.created_at, Artifact.id)
        rows = [file, *images, *session.scalars(shown)]
        history: Points = readings(session, claim.job_id, CURVE_POINTS)
        return Sources(dict(teacher.spec), tuple(map(_source, rows)), tuple(history))


def _source(row: Artifact) -> SourceFile:
    return SourceFile(row.id, row.kind, row.filename, row.bytes, row.sha256, row.step, row.blob_id, row.store)


def fetch(file: SourceFile, target: Path, between: Between = nothing) -> None:
    """Write the file's bytes to `target`. Raises IntegrityError when they are not what was stored.

    `between` is called after each part, and what it raises ends the fetching.
    """
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for chunk in blobs.read_blob(Blob(file.blob_id, file.store), 0, file.bytes, lambda: _now(file)):
            digest.update(chunk)
            out.write(chunk)
            between()
    if digest.hexdigest() != file.sha256:
        target.unlink()
        raise IntegrityError(f"{file.id} is not what was stored")


def _now(file: SourceFile) -> Blob | None:
    """Where its bytes are by now; None once it is deleted."""
    with read_scope() as session:
        row = session.get(Artifact, file.id)
        return None if row is None else Blob(row.blob_id, row.store)


def store(role: str, kind: str, step: int | None, payload: bytes) -> StoredFile:
    """Keep bytes that a worker brings; see `described`."""
    artifact_id = new_id("art")
    described(role, kind, step)
    return stored_file(artifact_id, role, kind, step, get_store().put(artifact_id, [payload]))


def stored_file(artifact_id: str, role: str, kind: str, step: int | None, stored: Stored) -> StoredFile:
    """What the store keeps under `artifact_id`, as a worker's file."""
    name, media_type = described(role, kind, step)
    return StoredFile(
        artifact_id, kind, name, media_type, stored.bytes, stored.sha256, step, store_of_new_bytes(), role
    )


def described(role: str, kind: str, step: int | None) -> tuple[str, str]:
    """File name and media type of what a worker brings, whatever else it says of it.

    `role`: `samples` and `checkpoint` of a running job, `artifact` of its end, `measured` for the report of a
    measurement. Raises ValueError for what there is not.
    """
    match role, kind:
        case "samples", "samples" if step is not None:
            return f"samples-{step}.png", "image/png"
        case "checkpoint", "checkpoint" if step is not None:
            return f"checkpoint-{step}.bin", "application/octet-stream"
        case "artifact", "manifest":
            return "manifest.json", "application/json"
        case "artifact", _ if kind in ARTIFACTS:
            return ARTIFACTS[kind]
        case "measured", "report":
            return MEASURED_REPORT, ARTIFACTS["report"][1]
    raise ValueError(f"no file of kind {kind} is a {role}")


def ids_of(files: Iterable[StoredFile]) -> Sequence[str]:
    """What `forget` takes."""
    return [file.id for file in files]
