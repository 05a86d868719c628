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
from pathlib import Path

from sqlalchemy.exc import NoResultFound

from app.jobs.measurements import MeasurementClaim
from app.leases.files import STUDENT_KINDS, SourceFile
from app.models.artifact import LABELLED
from app.platform.settings import get_settings
from app.storage import IntegrityError
from dfad_core.contract.job_result import Accuracy, JobError
from dfad_core.contract.serialization import JsonObject, JsonValue, from_json
from worker.kernel import resident_bytes
from worker.process import RunnerProcess
from worker.protocol import Message
from worker.scratch import UNEXPLAINED, no_space_in, scratch_folder
from worker.service import Service
from worker.shutdown import shutdown_asked
from worker.threads import runner_memory, runner_threads

logger = logging.getLogger(__name__)

MEASUREMENT_SECONDS = 2700.0
LOOK_SECONDS = 0.25
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


def measure_job(claim: MeasurementClaim, service: Service, holds_claim: Condition = lambda: True) -> str:
    """waiting -> succeeded or failed.

    `waiting` where the worker shuts down, `stale` where the claim is lost by the end. Raises what says that
    no space is left (`is_full`).
    """
    outcome: tuple[Accuracy, bytes] | JobError | None
    try:
        with scratch_folder(claim.job_id) as folder:
            start = _prepare(claim, service, folder, holds_claim)
            deadline = time.monotonic() + MEASUREMENT_SECONDS
            for _ in range(service.max_attempts):
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
        return "failed" if service.fail_measurement(claim, outcome) else "stale"
    return "succeeded" if _publish(claim, service, *outcome) else "stale"


def _publish(claim: MeasurementClaim, service: Service, accuracy: Accuracy, report: bytes) -> bool:
    file = service.store(claim, "measured", "report", None, report)
    try:
        return service.finish_measurement(claim, accuracy, file)
    finally:
        service.forget(claim, [file])  # only if no row came to own it


def _prepare(claim: MeasurementClaim, service: Service, folder: Path, holds_claim: Condition) -> JsonObject:
    """The job's files into the runner's folder; the `start` command. Raises _ClaimLost."""

    def between() -> None:
        if shutdown_asked() or not holds_claim():
            raise _ClaimLost

    def fetched(file: SourceFile, path: Path) -> str:
        service.fetch(claim, file, path, between)
        return str(path)

    sources = service.sources(claim)
    labelled = sources.of(LABELLED)
    if not labelled:
        raise NoResultFound
    # The process that reads them can write beside them: not where the student's files are.
    foreign = folder / "foreign"
    foreign.mkdir()
    pictures = sources.of("samples")
    thinned = pictures[:-1][:: max(1, -(-len(pictures) // MOST_PICTURES))] + pictures[-1:]
    paths: list[JsonValue] = [[file.step or 0, fetched(file, folder / f"{file.id}.png")] for file in thinned]
    students = sources.of(*STUDENT_KINDS)
    return {
        "mode": "measure",
        "spec": claim.resolved_spec,
        "teacher_path": fetched(sources.files[0], foreign / "teacher.bin"),
        "labelled_path": fetched(labelled[0], foreign / "labelled.bin"),
        "students": {STUDENT_KINDS[f.kind]: fetched(f, folder / f"{f.kind}.bin") for f in students},
        "result": claim.result,
        "history": sources.history,
        "pictures": paths,
        "threads": 1,
    }


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
