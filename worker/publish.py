"""Rows and artifacts of the runner's messages. Nothing of a stale attempt is ever published."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.files.artifacts import blobs
from app.files.artifacts.blobs import forget, remove_artifacts
from app.jobs.events import append_event
from app.jobs.lifecycle import Claim, update_held
from app.jobs.students import unpublished
from app.models import Artifact, Job, JobMetric, Teacher
from app.platform.db import database_now, read_scope, session_scope
from app.platform.ids import new_id
from app.storage import IntegrityError, get_store
from app.telemetry import counters
from dfad_core.contract.progress import MOST_PERCENT, PhaseProgress, Progress
from dfad_core.contract.serialization import JsonObject, JsonValue
from worker.frames import ARTIFACTS
from worker.protocol import Message

Between = Callable[[], object]
KEPT_CHECKPOINTS = 2
MANIFEST = "manifest"
"""Written by the supervisor; no runner can send one."""


def nothing() -> None:
    """What happens between two parts of a file if nothing has to."""


class LeaseLost(Exception):
    """A write was refused because the job is another attempt's now."""


@dataclass
class Pending:
    """Artifacts whose bytes are kept but whose rows wait for the job's end; all but the student."""

    rows: list[Artifact] = field(default_factory=list)

    def publish(self, session: Session, *, partial: bool) -> None:
        """Make them visible in the transaction that ends the job."""
        now = database_now(session)
        for row in self.rows:
            row.published_at = row.created_at = now
            row.partial = partial and row.kind.startswith("student")
            session.add(row)
        session.flush()

    def discard(self) -> None:
        """Forget the bytes, but never those of an artifact that was published.

        They can be: where the connection broke during a commit, only the database knows how it ended.
        """
        forget(row.id for row in self.rows)
        self.rows.clear()


def store_bytes(claim: Claim, message: Message) -> Artifact:
    """Keep a message's payload; the row is not in the database yet."""
    artifact_id = new_id("art")
    stored = get_store().put(artifact_id, [message.payload])
    data = message.data
    kind, filename, media_type = _called(message)
    return Artifact(
        id=artifact_id,
        tenant_id=claim.tenant_id,
        job_id=claim.job_id,
        kind=kind,
        filename=filename,
        media_type=media_type,
        bytes=stored.bytes,
        sha256=stored.sha256,
        partial=False,
        step=data.get("step"),
        details={},
        created_at=datetime.min,
    )


def _called(message: Message) -> tuple[str, str, str]:
    """Kind, file name and media type of a message's payload: by its kind, whatever else it says."""
    match message.type:
        case "samples":
            return "samples", f"samples-{message.data['step']}.png", "image/png"
        case "checkpoint":
            return "checkpoint", f"checkpoint-{message.data['step']}.bin", "application/octet-stream"
    kind = message.data["kind"]
    if kind == MANIFEST:
        return MANIFEST, "manifest.json", "application/json"
    return kind, *ARTIFACTS[kind]


def publish_now(claim: Claim, message: Message, event: str) -> None:
    """Store a samples picture or a checkpoint and tell of it. Raises LeaseLost."""
    row = store_bytes(claim, message)
    try:
        with session_scope() as session:
            _hold(session, claim)
            row.created_at = row.published_at = database_now(session)
            session.add(row)
            session.flush()
            append_event(session, claim.job_id, event, {"step": row.step, "artifact_id": row.id})
            if row.kind == "checkpoint":
                counters.count(session, "dfad_checkpoints")
    except BaseException:
        forget([row.id])
        raise
    if row.kind == "checkpoint":
        drop_checkpoints(claim.job_id, keep=KEPT_CHECKPOINTS)


def keep_student(claim: Claim, message: Message) -> Artifact:
    """Store a job's student, in the place of one that an earlier attempt left. Raises LeaseLost.

    Its row is there from now on; clients see it from the job's end on, whoever brings that about
    (`app.jobs.students`).
    """
    row = store_bytes(claim, message)
    row.partial = True
    row.details = {"complete": message.data.get("complete", False), "result": message.data.get("result")}
    try:
        with session_scope() as session:
            _hold(session, claim)
            before = remove_artifacts(session, *unpublished(claim.job_id))
            row.created_at = database_now(session)
            session.add(row)
    except BaseException:
        forget([row.id])
        raise
    forget(before)
    return row


def has_student(job_id: str) -> bool:
    """Whether a job that has ended left a student."""
    with read_scope() as session:
        mine = (Artifact.job_id == job_id, Artifact.kind == "student", Artifact.published_at.is_not(None))
        return session.scalar(select(Artifact.id).where(*mine)) is not None


def drop_checkpoints(job_id: str, *, keep: int) -> None:
    """Delete all but the newest `keep` checkpoints of a job."""
    with session_scope() as session:
        blobs = remove_checkpoints(session, job_id, keep=keep)
    forget(blobs)


def remove_checkpoints(session: Session, job_id: str, *, keep: int = 0) -> list[str]:
    """Their rows, in the caller's transaction; the blobs to forget after the commit."""
    query = select(Artifact.id).where(Artifact.job_id == job_id, Artifact.kind == "checkpoint")
    old = list(session.scalars(query.order_by(Artifact.created_at.desc(), Artifact.id.desc())))[keep:]
    return remove_artifacts(session, Artifact.id.in_(old))


def _hold(session: Session, claim: Claim, **values: Any) -> None:
    """Fail unless the attempt still holds the job; takes the row's lock on the way."""
    if not update_held(session, claim, **(values or {"lease_owner": claim.owner})):
        raise LeaseLost


def record_progress(claim: Claim, progress: Progress) -> None:
    """One report of the loop: the row's latest figures, a point of the series, an event."""
    metrics = dict(progress.metrics)
    figures: JsonObject = {
        "step": progress.step,
        "total_steps": progress.total_steps,
        "percent": progress.percent,
        "eta_seconds": progress.eta_seconds,
        "metrics": metrics,
    }
    with session_scope() as session:
        _hold(session, claim, **{**figures, "percent": progress.training_percent})
        session.merge(
            JobMetric(job_id=claim.job_id, step=progress.step, seconds=progress.seconds, series=metrics)
        )
        append_event(session, claim.job_id, "progress", figures)


def record_phase_progress(claim: Claim, progress: PhaseProgress) -> None:
    """How far evaluation or export is: an event of the kind that training has, with `phase` in it."""
    phase: JsonObject = {"done": progress.done, "total": progress.total, "unit": progress.unit}
    with session_scope() as session:
        _hold(session, claim, phase_progress=phase, eta_seconds=progress.eta_seconds)
        step, total = session.execute(select(Job.step, Job.total_steps).where(Job.id == claim.job_id)).one()
        figures: JsonObject = {
            "step": step,
            "total_steps": total,
            "percent": MOST_PERCENT,
            "eta_seconds": progress.eta_seconds,
            "metrics": {},
            "phase": phase,
        }
        append_event(session, claim.job_id, "progress", figures)


def record_phase(claim: Claim, phase: str) -> None:
    """A new phase inside running."""
    with session_scope() as session:
        _hold(session, claim, phase=phase, phase_progress=None)
        append_event(session, claim.job_id, "phase", {"phase": phase})


def record_event(claim: Claim, kind: Literal["note", "warning"], data: Mapping[str, JsonValue]) -> None:
    """A note or warning of the engine."""
    with session_scope() as session:
        _hold(session, claim)
        append_event(session, claim.job_id, kind, dict(data))


def fetch_teacher(teacher_id: str, target: Path, between: Between = nothing) -> JsonObject:
    """Write the teacher's bytes to `target`, verified; returns the teacher's spec. `between` as in `fetch`.

    Raises IntegrityError when the bytes are not those that were uploaded.
    """
    with read_scope() as session:
        teacher = session.get_one(Teacher, teacher_id)
        artifact = session.get_one(Artifact, teacher.artifact_id)
    fetch(artifact, target, between)
    return dict(teacher.spec)


def fetch_input(job_id: str, kind: str, target: Path, between: Between = nothing) -> bool:
    """Write the job's file of that kind to `target`, if it came with one. Raises IntegrityError."""
    with read_scope() as session:
        mine = (Artifact.job_id == job_id, Artifact.kind == kind)
        artifact = session.scalars(select(Artifact).where(*mine)).first()
    if artifact is not None:
        fetch(artifact, target, between)
    return artifact is not None


def fetch_newest_checkpoint(job_id: str, target: Path) -> tuple[int | None, list[Artifact]]:
    """Write the newest intact checkpoint to `target`.

    Returns its step, or None if there is none, and the newer ones that are damaged.
    """
    damaged: list[Artifact] = []
    with read_scope() as session:
        query = select(Artifact).where(Artifact.job_id == job_id, Artifact.kind == "checkpoint")
        rows = list(session.scalars(query.order_by(Artifact.created_at.desc(), Artifact.id.desc())))
    for row in rows:
        try:
            fetch(row, target)
        except IntegrityError:
            damaged.append(row)
            continue
        return row.step, damaged
    return None, damaged


def fetch(artifact: Artifact, target: Path, between: Between = nothing) -> None:
    """Write the artifact's bytes to `target`. Raises IntegrityError when they are not what was stored.

    `between` is called after each part, and what it raises ends the fetching.
    """
    digest = hashlib.sha256()
    with target.open("wb") as file:
        for chunk in blobs.read(artifact, 0, artifact.bytes):
            digest.update(chunk)
            file.write(chunk)
            between()
    if digest.hexdigest() != artifact.sha256:
        target.unlink()
        raise IntegrityError(f"{artifact.id} is not what was stored")
