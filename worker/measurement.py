"""The measurement of a finished job on labelled images that came later, in a runner of its own.

The images are read behind the same walls as those that come with a job. It runs on the CPU with one thread,
beside whatever job the worker has.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import NoResultFound

from app.files.artifacts.blobs import forget
from app.jobs.measurements import MEASURED_REPORT, MeasurementClaim, fail, finish
from app.jobs.series import readings
from app.models import Artifact
from app.models.artifact import LABELLED
from app.platform.db import read_scope
from app.platform.ids import new_id
from app.platform.settings import get_settings
from app.storage import IntegrityError, get_store
from dfad_core.contract.formats import FORMATS, STUDENT_FORMATS
from dfad_core.contract.job_result import Accuracy, JobError
from dfad_core.contract.serialization import JsonObject, JsonValue, from_json
from worker import publish
from worker.kernel import resident_bytes
from worker.process import RunnerProcess
from worker.protocol import Message
from worker.scratch import UNEXPLAINED, no_space_in, scratch_folder
from worker.shutdown import shutdown_asked
from worker.threads import runner_memory, runner_threads

logger = logging.getLogger(__name__)

MEASUREMENT_SECONDS = 2700.0
LOOK_SECONDS = 0.25
CURVE_POINTS = 500
"""Readings of the training in the report's curves, about."""
MOST_PICTURES = 8
"""Pictures in the report besides the last."""
CRASHED = JobError("runner_crashed", "The process that measured ended unexpectedly.")
Condition = Callable[[], bool]


class _ClaimLost(Exception):
    """The claim is another worker's, or this worker shuts down."""


@dataclass
class _Answers:
    """What a runner has said."""

    last: Message | None = None
    report: bytes | None = None
    heard: float = field(default_factory=time.monotonic)


def measure_job(claim: MeasurementClaim, holds_claim: Condition = lambda: True) -> str:
    """waiting -> succeeded or failed.

    `waiting` where the worker shuts down, `stale` where the claim is lost by the end. Raises what says that
    no space is left (`is_full`).
    """
    settings = get_settings()
    outcome: tuple[Accuracy, bytes] | JobError | None
    try:
        with scratch_folder(claim.job_id) as folder:
            start = _prepare(claim, folder, holds_claim)
            deadline = time.monotonic() + MEASUREMENT_SECONDS
            for _ in range(settings.max_attempts):
                outcome = _ask(folder, start, deadline, holds_claim)
                if isinstance(outcome, JobError) and outcome.code in UNEXPLAINED and no_space_in(folder):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if outcome != CRASHED:
                    break
    except _ClaimLost:
        outcome = None
    except NoResultFound:
        outcome = JobError("teacher_deleted", "The job's teacher or its files were deleted meanwhile.")
    except IntegrityError:
        outcome = JobError("corrupt_file", "A stored file of the job is damaged.")
    if outcome is None:
        return "waiting"
    if isinstance(outcome, JobError):
        return "failed" if fail(claim, outcome) else "stale"
    return "succeeded" if _publish(claim, *outcome) else "stale"


def _publish(claim: MeasurementClaim, accuracy: Accuracy, report: bytes) -> bool:
    artifact_id = new_id("art")
    stored = get_store().put(artifact_id, [report])
    row = Artifact(
        id=artifact_id,
        tenant_id=claim.tenant_id,
        job_id=claim.job_id,
        kind="report",
        filename=MEASURED_REPORT,
        media_type="text/html; charset=utf-8",
        bytes=stored.bytes,
        sha256=stored.sha256,
        partial=False,
        details={},
        created_at=datetime.min,
    )
    try:
        return finish(claim, accuracy, row)
    finally:
        forget([artifact_id])  # only if no row came to own it


def _prepare(claim: MeasurementClaim, folder: Path, holds_claim: Condition) -> JsonObject:
    """The job's files into the runner's folder; the `start` command. Raises _ClaimLost."""

    def between() -> None:
        if shutdown_asked() or not holds_claim():
            raise _ClaimLost

    # The process that reads them can write beside them: not where the student's files are.
    foreign = folder / "foreign"
    foreign.mkdir()
    teacher, labelled = foreign / "teacher.bin", foreign / "labelled.bin"
    publish.fetch_teacher(claim.teacher_id, teacher, between)
    if not publish.fetch_input(claim.job_id, LABELLED, labelled, between):
        raise NoResultFound
    kinds = {FORMATS[name].artifact_kind: name for name in STUDENT_FORMATS}
    with read_scope() as session:
        mine = (Artifact.job_id == claim.job_id, Artifact.published_at.is_not(None))
        query = select(Artifact).where(*mine, Artifact.kind.in_((*kinds, "samples")))
        rows = list(session.scalars(query.order_by(Artifact.created_at, Artifact.id)))
        history = readings(session, claim.job_id, CURVE_POINTS)
    students: JsonObject = {}
    for row in (row for row in rows if row.kind in kinds):
        students[kinds[row.kind]] = str(_fetched(row, folder / f"{row.kind}.bin", between))
    pictures = [row for row in rows if row.kind == "samples"]
    thinned = pictures[:-1][:: max(1, -(-len(pictures) // MOST_PICTURES))] + pictures[-1:]
    paths: list[JsonValue] = [
        [row.step or 0, str(_fetched(row, folder / f"{row.id}.png", between))] for row in thinned
    ]
    return {
        "mode": "measure",
        "spec": claim.resolved_spec,
        "teacher_path": str(teacher),
        "labelled_path": str(labelled),
        "students": students,
        "result": claim.result,
        "history": history,
        "pictures": paths,
        "threads": 1,
    }


def _fetched(artifact: Artifact, path: Path, between: publish.Between) -> Path:
    publish.fetch(artifact, path, between)
    return path


def _ask(
    folder: Path, start: JsonObject, deadline: float, holds_claim: Condition
) -> tuple[Accuracy, bytes] | JobError | None:
    """Accuracy and report, or why there are none; None where the worker shuts down or the claim is lost."""
    memory = runner_memory(get_settings())
    runner = RunnerProcess(folder, runner_threads(get_settings()), log=2, mode="measure", warm=True)
    answers = _Answers()
    try:
        runner.send("start", start)
        while not shutdown_asked() and holds_claim():
            if (fault := _fault(runner.pid, answers.heard, deadline, memory)) is not None:
                return fault
            try:
                message = runner.receive(LOOK_SECONDS)
            except TimeoutError:
                continue
            if message is None:
                return _answer(answers)
            answers.heard = time.monotonic()
            if message.type == "artifact":
                answers.report = message.payload
            elif message.type in ("result", "error"):
                answers.last = message
        return None
    finally:
        runner.close()


def _fault(pid: int, heard: float, deadline: float, memory: int | None) -> JobError | None:
    """Why the runner must not go on, if so."""
    now, patience = time.monotonic(), get_settings().watchdog_seconds
    if now > deadline:
        text = f"Measuring took longer than {MEASUREMENT_SECONDS / 60:.0f} minutes; send fewer images."
        return JobError("measurement_timeout", text)
    if now - heard > patience:
        return JobError("hung", f"Measuring made no progress for {patience:g} s.")
    if memory is not None and resident_bytes(pid) > memory:
        return JobError("out_of_memory", "Measuring needs more memory than there is; send fewer images.")
    return None


def _answer(answers: _Answers) -> tuple[Accuracy, bytes] | JobError:
    if answers.last is None:
        return CRASHED
    if answers.last.type == "error":
        return from_json(JobError, answers.last.data)
    assert answers.report is not None, "it comes before the result"
    return from_json(Accuracy, answers.last.data["accuracy"]), answers.report
