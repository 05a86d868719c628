"""What makes lost messages and lost workers harmless. A thread of every worker.

Each round: jobs whose lease has lapsed are run again, owed messages are sent, what nobody claimed is
announced again. Any number of these may run at once.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from datetime import timedelta

from celery.worker.state import active_requests
from sqlalchemy import and_, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from app.jobs.lifecycle import RUN_JOB, expire_leases, queue_of
from app.messaging.dispatch import send, send_due
from app.models import Job
from app.models.clock import steady_now
from app.models.job_states import Status
from app.platform.db import read_scope, session_scope
from app.platform.full import is_full
from app.platform.settings import get_settings
from worker.devices import worker_devices

logger = logging.getLogger(__name__)

ANNOUNCED_AT_ONCE = 100
AWAY_SECONDS = 2.0
"""Between two rounds while the database is away: whoever is lost meanwhile need not wait for long."""


class Reconciler(threading.Thread):
    """Runs a round at once and then every `reaper_seconds`."""

    def __init__(self) -> None:
        super().__init__(name="reconciler", daemon=True)
        self._end = threading.Event()

    def run(self) -> None:
        """Until the process ends."""
        full_at = -math.inf
        while True:
            pause = get_settings().reaper_seconds
            try:
                # Without space no lease could be renewed and no job given back: time for that first.
                if time.monotonic() - full_at < get_settings().lease_seconds:
                    reconcile(reap=False)
                else:
                    reconcile()
            except SQLAlchemyError as error:
                if is_full(error):
                    full_at = time.monotonic()
                else:
                    pause = min(pause, AWAY_SECONDS)
                logger.warning("the database is away (%s); next round in %.0f s", type(error).__name__, pause)
            except Exception:
                # A round that fails must not end all rounds to come.
                logger.exception("a round of the reconciler failed")
            if self._end.wait(pause):
                return

    def close(self) -> None:
        """End after the present round."""
        self._end.set()


def reconcile(*, reap: bool = True) -> None:
    """One round; without `reap` leases that have lapsed are left alone."""
    if reap:
        with session_scope() as session:
            expired = expire_leases(session)
        for job_id in expired:
            logger.warning("the lease of the job expired", extra={"job_id": job_id})
    send_due()
    # A worker that is busy would come too late anyway, and messages that nobody takes pile up.
    if not active_requests:
        announce_again()


def announce_again() -> None:
    """Send the messages of queued jobs that nobody has come for."""
    with read_scope() as session:
        now = steady_now(session)
        before = now - timedelta(seconds=get_settings().republish_seconds)
        jobs = select(Job.id, Job.device).where(
            Job.status == Status.QUEUED,
            Job.run_after <= now,
            Job.device.in_(worker_devices(get_settings())),
            # What was never sent is still in the outbox, or should have left it long ago.
            or_(and_(Job.announced_at.is_(None), Job.run_after <= before), Job.announced_at <= before),
        )
        found = session.execute(jobs.order_by(Job.id).limit(ANNOUNCED_AT_ONCE)).all()
    sent = [row.id for row in found if send(RUN_JOB, row.id, queue_of(row.device))]
    if sent:
        with session_scope() as session:
            now = steady_now(session)
            session.execute(update(Job).where(Job.id.in_(sent)).values(announced_at=now))
