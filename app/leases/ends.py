"""The end of an attempt: the job's move and the attempt's files, in one transaction."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from app.files.artifacts.blobs import forget
from app.jobs import lifecycle
from app.jobs.lifecycle import Claim
from app.jobs.no_space import put_off
from app.leases import records
from app.leases.files import StoredFile, ids_of
from app.models import Artifact
from app.platform.db import database_now, read_scope, session_scope
from dfad_core.contract.job_result import JobError, JobResult

logger = logging.getLogger(__name__)

How = Literal["trained", "stopped", "failed", "gave_up", "no_space"]
Stop = Literal["cancel", "pause", "shutdown", "deadline"]


@dataclass(frozen=True)
class Ending:
    """How an attempt ended, as its supervisor saw it."""

    how: How
    """`trained`: all steps. `stopped`: for `stop`. `failed`: the job cannot succeed. `gave_up`: the runner
    was lost. `no_space`: on the worker's disk, in the store or in the database."""
    stop: Stop | None = None
    """What the runner was stopped for, if it was."""
    reason: str = ""
    """Why it gave up."""
    error: JobError | None = None
    result: JobResult | None = None


def end(claim: Claim, ending: Ending, files: Sequence[StoredFile] = ()) -> str:
    """End the attempt. Returns succeeded, failed, cancelled, paused, requeued, or stale.

    `stale`: another attempt has the job, and nothing was published. Bytes of `files` that no row owns in the
    end are forgotten.
    """
    match ending.how:
        case "no_space":
            ended = _no_space(claim)
        case "gave_up":
            ended = _give_up(claim, ending)
        case "failed":
            ended = _fail(claim, ending, files)
        case "trained":
            ended = _succeed(claim, ending, files) or _stop(claim, ending, files)
        case "stopped":
            ended = _stop(claim, ending, files)
    if ended in ("stale", "paused", "requeued") or ending.how in ("no_space", "gave_up"):
        # Never those of an artifact that was published: where the connection broke during a commit, only
        # the database knows how it ended.
        forget(ids_of(files))
    return ended


def _publish(session: Session, claim: Claim, files: Sequence[StoredFile], *, partial: bool) -> None:
    """Make files visible in the transaction that ends the job."""
    now = database_now(session)
    for file in files:
        row = file.row(claim.tenant_id, claim.job_id)
        row.published_at = row.created_at = now
        row.partial = partial and row.kind.startswith("student")
        session.add(row)
    session.flush()


def _no_space(claim: Claim) -> str:
    with session_scope() as session:
        ended = put_off(session, claim)
    if ended == "cancelled":
        _drop_checkpoints(claim.job_id, unless_needed=True)
    return ended


def _give_up(claim: Claim, ending: Ending) -> str:
    """Another attempt, or failed at the last; cancelled if that was asked for meanwhile."""
    assert ending.error is not None
    with session_scope() as session:
        ended = lifecycle.give_up_attempt(session, claim, ending.reason, ending.error)
        if ended == "stale" and lifecycle.cancelled(session, claim):
            ended = "cancelled"
    if ended in ("failed", "cancelled"):
        _drop_checkpoints(claim.job_id, unless_needed=True)
    return ended


def _fail(claim: Claim, ending: Ending, files: Sequence[StoredFile]) -> str:
    """The end of a job that cannot succeed; what it had trained is kept."""
    assert ending.error is not None
    with session_scope() as session:
        if lifecycle.fail(session, claim, ending.error, ending.result):
            ended = "failed"
        elif lifecycle.cancelled(session, claim, ending.result):
            ended = "cancelled"
        else:
            ended = "stale"
        if ended != "stale":
            _publish(session, claim, files, partial=True)
    if ended != "stale":
        _drop_checkpoints(claim.job_id, unless_needed=ending.result is None)
    return ended


def _succeed(claim: Claim, ending: Ending, files: Sequence[StoredFile]) -> str | None:
    """None where the attempt is stale, or a cancel was asked for."""
    assert ending.result is not None
    blobs: list[str] = []
    with session_scope() as session:
        succeeded = lifecycle.succeed(session, claim, ending.result)
        if succeeded:
            _publish(session, claim, files, partial=False)
            blobs = records.remove_checkpoints(session, claim.job_id)
    forget(blobs)
    return "succeeded" if succeeded else None


def _stop(claim: Claim, ending: Ending, files: Sequence[StoredFile]) -> str:
    """The user paused or cancelled, time ran out, or the worker shuts down; what was trained is kept."""
    if ending.stop in ("shutdown", "pause"):
        # What was asked for last counts: a job that is to pause does so though its worker shuts down.
        with session_scope() as session:
            if lifecycle.paused(session, claim):
                return "paused"
            if lifecycle.requeue(session, claim, "its worker shut down", delay=0, counts=False):
                return "requeued"
    late = JobError("deadline_exceeded", "The job ran past its max_runtime_seconds.")
    with session_scope() as session:
        # A cancel may have come between whatever stopped the runner and now: it goes before.
        if ending.stop == "deadline" and lifecycle.fail(session, claim, late, ending.result):
            ended = "failed"
        elif lifecycle.cancelled(session, claim, ending.result):
            ended = "cancelled"
        else:
            ended = "stale"
        if ended != "stale":
            _publish(session, claim, files, partial=True)
    if ended != "stale":
        _drop_checkpoints(claim.job_id)
    return ended


def _drop_checkpoints(job_id: str, *, unless_needed: bool = False) -> None:
    """The job has ended; what is not deleted now is swept later.

    `unless_needed`: not where they are all that is left of the training.
    """
    try:
        if not unless_needed or _has_student(job_id):
            records.drop_checkpoints(job_id, keep=0)
    except DBAPIError:
        logger.warning("its checkpoints stay until they are swept", extra={"job_id": job_id})


def _has_student(job_id: str) -> bool:
    """Whether a job that has ended left a student."""
    with read_scope() as session:
        mine = (Artifact.job_id == job_id, Artifact.kind == "student", Artifact.published_at.is_not(None))
        return session.scalar(select(Artifact.id).where(*mine)) is not None
