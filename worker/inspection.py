"""Looking at an uploaded teacher, in a runner of its own."""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import update

from app.config import get_settings
from app.db import session_scope
from app.models import Teacher
from app.storage import IntegrityError
from worker import publish
from worker.process import RunnerProcess
from worker.protocol import Message
from worker.shutdown import shutdown_asked
from worker.threads import runner_threads

logger = logging.getLogger(__name__)

INSPECTION_SECONDS = 120.0
LOOK_SECONDS = 0.25
Condition = Callable[[], bool]
CRASHED = {"error": {"code": "loader_crashed", "message": "Reading the file ended its process."}}


def inspect_teacher(
    teacher_id: str, *, holds_claim: Condition = lambda: True, job_runs: Condition = lambda: False
) -> str:
    """inspecting -> ready or rejected. Doing it twice gives the same answer and changes nothing.

    A runner that dies may have been killed for no fault of the file's: only a file that ends as many as a
    job has attempts is rejected for it. The teacher stays `inspecting` where the worker shuts down, or no
    longer `holds_claim`. While `job_runs`, the file is read with one thread: two networks at work with as
    many threads as there are processors slow each other many times over.
    """
    settings = get_settings()
    settings.scratch_folder.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{teacher_id}-", dir=settings.scratch_folder))
    found: dict[str, Any] | None
    try:
        path = folder / "teacher.bin"
        spec = publish.fetch_teacher(teacher_id, path)
        for _ in range(settings.max_attempts):
            found = _ask(folder, path, spec, holds_claim, job_runs)
            if found != CRASHED:
                break
    except IntegrityError:
        found = {"error": {"code": "corrupt_file", "message": "The stored teacher is damaged."}}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return "inspecting" if found is None else record_inspection(teacher_id, found)


def record_inspection(teacher_id: str, found: dict[str, Any]) -> str:
    """Write an `inspection` or an `error` into a row that still waits; a later one changes nothing."""
    status = "rejected" if "error" in found else "ready"
    with session_scope() as session:
        session.execute(
            update(Teacher)
            .where(Teacher.id == teacher_id, Teacher.status == "inspecting")
            .values(status=status, inspection=found.get("inspection"), error=found.get("error"))
        )
    return status


def _ask(
    folder: Path, path: Path, spec: dict[str, Any], holds_claim: Condition, job_runs: Condition
) -> dict[str, Any] | None:
    """What a runner says of the file; None if there was no time to listen."""
    alone = not job_runs()
    all_threads = runner_threads(get_settings())
    runner = RunnerProcess(folder, all_threads, log=2, warm=True)
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
                return {"error": {"code": "loader_timeout", "message": "Reading the file took too long."}}
            if message is None:
                return _understood(last)
            last = message
        else:
            return None
    finally:
        runner.close()
    # A job has begun meanwhile: once more, with one thread.
    return _ask(folder, path, spec, holds_claim, job_runs)


def _understood(last: Message | None) -> dict[str, Any]:
    """The runner's last word as an inspection or an error."""
    if last is None:
        return CRASHED
    if last.type == "error":
        error = {k: v for k, v in last.data.items() if v is not None and k != "teacher_rejected"}
        return {"error": error}
    return {"inspection": last.data["inspection"]}
