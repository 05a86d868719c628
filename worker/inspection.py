"""The inspection of an uploaded teacher, in a runner of its own."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from app.leases.files import nothing
from app.platform.settings import get_settings
from app.storage import IntegrityError
from app.teachers.inspections import InspectionClaim
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import JobError
from dfad_core.contract.serialization import JsonObject, from_json
from worker.process import RunnerProcess
from worker.protocol import Message
from worker.scratch import UNEXPLAINED, no_space_in, scratch_folder
from worker.service import Service
from worker.shutdown import shutdown_asked
from worker.threads import runner_threads

logger = logging.getLogger(__name__)

INSPECTION_SECONDS = 120.0
LOOK_SECONDS = 0.25
Condition = Callable[[], bool]
CRASHED = JobError("loader_crashed", "Reading the file ended its process.")


def inspect_teacher(
    claim: InspectionClaim,
    service: Service,
    *,
    holds_claim: Condition = lambda: True,
    job_runs: Condition = lambda: False,
) -> str:
    """inspecting -> ready or rejected. Doing it twice gives the same answer and changes nothing.

    A runner that dies may have been killed for no fault of the file's: only a file that ends as many as a
    job has attempts is rejected for it. The teacher stays `inspecting` where the worker shuts down, or no
    longer `holds_claim`. While `job_runs`, the file is read with one thread: two networks at work with as
    many threads as there are processors slow each other many times over. Raises OSError where the process
    that reads it had no space to write.
    """
    found: Inspection | JobError | None
    try:
        with scratch_folder(claim.teacher_id) as folder:
            path = folder / "teacher.bin"
            sources = service.sources(claim)
            service.fetch(claim, sources.files[0], path, nothing)
            for _ in range(service.max_attempts):
                found = _ask(folder, path, sources.teacher_spec, holds_claim, job_runs)
                if isinstance(found, JobError) and found.code in UNEXPLAINED and no_space_in(folder):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                if found != CRASHED:
                    break
    except IntegrityError:
        found = JobError("corrupt_file", "The stored teacher is damaged.")
    return "inspecting" if found is None else service.record_inspection(claim, found)


def _ask(
    folder: Path, path: Path, spec: JsonObject, holds_claim: Condition, job_runs: Condition
) -> Inspection | JobError | None:
    """A runner's report on the file; None where the worker shuts down or no longer holds the claim."""
    alone = not job_runs()
    all_threads = runner_threads(get_settings())
    runner = RunnerProcess(folder, all_threads, log=2, mode="inspect", warm=True)
    deadline = time.monotonic() + INSPECTION_SECONDS
    last = None
    try:
        start = {"mode": "inspect", "spec": spec, "teacher_path": str(path)}
        runner.send("start", {**start, "threads": all_threads if alone else 1})
        while not shutdown_asked() and holds_claim():
            if alone and all_threads > 1 and job_runs():
                break
            try:
                message = runner.receive(LOOK_SECONDS)
            except TimeoutError:
                if time.monotonic() < deadline:
                    continue
                return JobError("loader_timeout", "Reading the file took too long.")
            if message is None:
                return _answer(last)
            last = message
        else:
            return None
    finally:
        runner.close()
    # A job has begun meanwhile: once more, with one thread.
    return _ask(folder, path, spec, holds_claim, job_runs)


def _answer(last: Message | None) -> Inspection | JobError:
    """The runner's last message as a report or a rejection."""
    if last is None:
        return CRASHED
    if last.type == "error":
        return from_json(JobError, last.data)
    return from_json(Inspection, last.data["inspection"])
