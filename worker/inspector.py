"""Inspects uploaded teachers: a thread of the worker, beside its job's. No upload waits for a job.

Its runners come from the same nursery as the job's: no further process keeps torch loaded. Where the nursery
has died, this thread may start the next one, and to the kernel its parent is the thread: it must not end
before the job does.
"""

from __future__ import annotations

import logging
from functools import partial

from worker.inspection import inspect_teacher
from worker.rounds import ClaimKeeper, Rounds, job_runs
from worker.shutdown import shutdown_asked
from worker.this_service import get_service

logger = logging.getLogger(__name__)


class Inspector(Rounds):
    """One teacher after the other."""

    def __init__(self) -> None:
        super().__init__("inspector")

    def _round(self) -> bool:
        if shutdown_asked():
            return False
        service = get_service()
        claim = service.claim_inspection()
        if claim is None:
            return False
        with self._task(teacher_id=claim.teacher_id, tenant_id=claim.tenant_id):
            keeper = ClaimKeeper(partial(service.renew_inspection, claim), service, self._end)
            status = inspect_teacher(claim, service, holds_claim=keeper, job_runs=job_runs)
            logger.info("the teacher is %s", status)
        if status == "inspecting":
            service.give_back_inspection(claim)
        return True
