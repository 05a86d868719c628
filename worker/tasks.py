"""Task bodies. Redelivery, loss and disorder of messages are harmless: the row decides."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from app.jobs.lifecycle import RUN_JOB, queue_of
from app.jobs.queue import next_waiting
from app.messaging.dispatch import send, send_due
from app.platform.db import read_scope
from app.platform.settings import get_settings
from worker.celery_app import celery_app
from worker.devices import worker_devices
from worker.shutdown import shutdown_asked
from worker.this_service import get_service
from worker.turn import take_turn

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
    taken = take_turn(get_service(), devices)
    if taken is None:
        return
    if not taken:
        logger.info("a message woke the worker, and nothing waits", extra={"job_id": job_id})
        return
    send_due()
    _pass_on(devices)


def _pass_on(devices: Sequence[str]) -> None:
    """Wake a worker for what still waits: messages may have been lost while this one was busy."""
    with read_scope() as session:
        waiting = next_waiting(session, devices)
    if waiting is not None:
        send(RUN_JOB, waiting[0], queue_of(waiting[1]))
