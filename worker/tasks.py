"""Task bodies. Redelivery, loss and disorder of messages are harmless: the row decides."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime

from app.jobs.lifecycle import RUN_JOB, queue_of
from app.jobs.queue import claim_next, next_waiting
from app.messaging.dispatch import send, send_due
from app.platform.db import read_scope, session_scope
from app.platform.settings import get_settings
from app.telemetry.context import bound
from dfad_core.contract.machine import has_gpu
from worker.attempt_runner import Attempt
from worker.celery_app import celery_app
from worker.devices import worker_devices
from worker.gpu_lock import gpu_lock
from worker.identity import owner
from worker.rounds import job_running
from worker.shutdown import shutdown_asked
from worker.spans import attempt_span

logger = logging.getLogger(__name__)


@celery_app.task(name=RUN_JOB)
def run_job(job_id: str) -> None:
    """Claim the job whose turn it is and run one attempt of it.

    The message wakes the worker up and does not choose: a tenant who has sent a thousand has no more
    turns for it. A second delivery finds nothing to claim and ends.
    """
    if shutdown_asked():
        return  # the reconciler of another worker announces the job again
    devices = worker_devices(get_settings())
    with gpu_lock(shutdown_asked) as held:
        if held is None:
            return
        woken = datetime.now(UTC)
        with session_scope() as session:
            taken = claim_next(session, owner(), devices, gpu=has_gpu())
        if taken is None:
            logger.info("a message woke the worker, and nothing waits", extra={"job_id": job_id})
            return
        names = {"job_id": taken.job_id, "attempt": taken.attempt, "tenant_id": taken.tenant_id}
        with bound(**names), attempt_span(taken, woken) as span:
            logger.info("the attempt begins")
            with job_running():
                ended = Attempt(taken, shutdown_asked, runner_keeps=held).run()
            logger.info("the attempt ends: %s", ended)
            if ended in ("failed", "requeued", "stale"):
                span.failed(ended)
    send_due()
    _pass_on(devices)


def _pass_on(devices: Sequence[str]) -> None:
    """Wake a worker for what still waits: messages may have been lost while this one was busy."""
    with read_scope() as session:
        waiting = next_waiting(session, devices)
    if waiting is not None:
        send(RUN_JOB, waiting[0], queue_of(waiting[1]))
