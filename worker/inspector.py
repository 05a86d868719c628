"""Inspects uploaded teachers: a thread beside the job in the worker's child. No upload waits for a job.

Its runners come from the same nursery as the job's: no further process keeps torch loaded. Where the nursery
has died, this thread may start the next one, and to the kernel its parent is the thread: it must not end
before the job does.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from app.config import get_settings
from app.teachers.inspections import InspectionClaim, claim_inspection, give_back, renew
from app.telemetry.context import bound
from worker.identity import owner
from worker.inspection import inspect_teacher
from worker.shutdown import shutdown_asked

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Between two looks for a teacher that waits."""
CLOSE_SECONDS = 5.0

_job_runs = threading.Event()


@contextmanager
def job_running() -> Iterator[None]:
    """While a job runs in this process, inspections take one thread."""
    _job_runs.set()
    try:
        yield
    finally:
        _job_runs.clear()


class Inspector(threading.Thread):
    """Looks every LOOK_SECONDS, and at once while there are more."""

    def __init__(self) -> None:
        super().__init__(name="inspector", daemon=True)
        self._end = threading.Event()

    def run(self) -> None:
        """Until the process ends."""
        while not self._end.is_set():
            try:
                busy = self._round()
            except SQLAlchemyError as error:
                logger.warning("the database is away (%s); inspections wait", type(error).__name__)
                busy = False
            except Exception:
                # A round that fails must not end all rounds to come. The teacher's turn comes again when the
                # claim is over.
                logger.exception("a round of the inspector failed")
                busy = False
            if not busy:
                self._end.wait(LOOK_SECONDS)

    def close(self) -> None:
        """End; an inspection that is under way is given up, and its runner is gone."""
        self._end.set()
        self.join(CLOSE_SECONDS)

    def _round(self) -> bool:
        """Inspect one teacher; False if none waits, or the worker shuts down."""
        if shutdown_asked():
            return False
        claim = claim_inspection(owner())
        if claim is None:
            return False
        with bound(teacher_id=claim.teacher_id, tenant_id=claim.tenant_id):
            status = inspect_teacher(
                claim.teacher_id, holds_claim=ClaimKeeper(claim, self._end), job_runs=_job_runs.is_set
            )
            logger.info("the teacher is %s", status)
        if status == "inspecting":
            give_back(claim)
        return True


class ClaimKeeper:
    """Whether the claim still holds; renews it now and then."""

    def __init__(self, claim: InspectionClaim, end: threading.Event) -> None:
        self._claim, self._end = claim, end
        self._renewed = time.monotonic()

    def __call__(self) -> bool:
        """False once it is lost, or nobody wants the inspection any more."""
        if self._end.is_set():
            return False
        if time.monotonic() - self._renewed < get_settings().heartbeat_seconds:
            return True
        self._renewed = time.monotonic()
        return renew(self._claim)
