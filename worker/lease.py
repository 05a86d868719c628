"""Holding a job: a thread that renews the lease and learns what the user wants."""

from __future__ import annotations

import contextvars
import logging
import threading
import time

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from app.jobs.lifecycle import Claim, heartbeat
from app.models import Job
from app.platform.db import read_scope, session_scope
from app.platform.full import is_full
from app.platform.settings import get_settings

logger = logging.getLogger(__name__)

STOP_LOOK_SECONDS = 1.0
"""How often a cancel is looked for, between heartbeats."""


class LeaseKeeper(threading.Thread):
    """Renews the lease of one attempt until told to end.

    `lost` is set when the database says that the job is another's, or when no heartbeat has come
    through for `self_fence_seconds`: the lease may have lapsed by then and nothing may be published.
    """

    def __init__(self, claim: Claim) -> None:
        super().__init__(name="lease-keeper", daemon=True)
        self._claim = claim
        self._ids = {"job_id": claim.job_id, "attempt": claim.attempt}
        self._end = threading.Event()
        self._context = contextvars.copy_context()  # its log lines are the attempt's
        self.lost = threading.Event()
        self.stop_reason: str | None = None
        self.full = False
        """The last heartbeat did not come through as no space was left."""

    def run(self) -> None:
        """Beat until the end."""
        self._context.run(self._beat)

    def _beat(self) -> None:
        settings = get_settings()
        renewed = time.monotonic()
        beaten = renewed
        pause = min(STOP_LOOK_SECONDS, settings.heartbeat_seconds)
        while not self._end.wait(pause) and not self.lost.is_set():
            now = time.monotonic()
            try:
                if now - beaten >= settings.heartbeat_seconds:
                    beaten = now
                    with session_scope() as session:
                        beat = heartbeat(session, self._claim)
                    if not beat.alive:
                        logger.warning("the job is held by another attempt", extra=self._ids)
                        self.lost.set()
                        return
                    renewed, self.full = now, False
                    self.stop_reason = beat.stop or self.stop_reason
                else:
                    self._look()
            except SQLAlchemyError as error:
                self.full = is_full(error)
                logger.warning("no heartbeat (%s)", type(error).__name__, extra=self._ids)
            if time.monotonic() - renewed > settings.self_fence_seconds:
                logger.error("no heartbeat came through; the runner is stopped", extra=self._ids)
                self.lost.set()

    def _look(self) -> None:
        with read_scope() as session:
            query = select(Job.stop_requested, Job.fence).where(Job.id == self._claim.job_id)
            row = session.execute(query).first()
        if row is None or row.fence != self._claim.fence:
            self.lost.set()
        elif row.stop_requested:
            self.stop_reason = row.stop_requested

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        self.join(timeout=30)
