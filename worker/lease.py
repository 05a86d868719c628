"""Holding a job: a thread that renews the lease and learns what the user wants."""

from __future__ import annotations

import contextvars
import logging
import threading
import time

from app.jobs.lifecycle import Beat, Claim
from app.platform.full import is_full
from worker.service import AWAY, Service

logger = logging.getLogger(__name__)

STOP_LOOK_SECONDS = 1.0
"""How often a cancel is looked for, between heartbeats."""


class LeaseKeeper(threading.Thread):
    """Renews the lease of one attempt until told to end.

    `lost` is set when the service says that the job is another's, or when no heartbeat has come
    through for `self_fence_seconds`: the lease may have lapsed by then and nothing may be published.
    """

    def __init__(self, claim: Claim, service: Service) -> None:
        super().__init__(name="lease-keeper", daemon=True)
        self._claim, self._service = claim, service
        self._ids = {"job_id": claim.job_id, "attempt": claim.attempt}
        self._end = threading.Event()
        self._context = contextvars.copy_context()  # its log lines are the attempt's
        self.lost = threading.Event()
        self.stop_reason: str | None = None
        self.ending = False
        """The attempt's end is under way: that the lease is gone is no news then."""
        self.full = False
        """The last heartbeat did not come through as no space was left."""

    def run(self) -> None:
        """Beat until the end."""
        self._context.run(self._beat)

    def _beat(self) -> None:
        service = self._service
        renewed = time.monotonic()
        beaten = renewed
        pause = min(STOP_LOOK_SECONDS, service.heartbeat_seconds)
        while not self._end.wait(pause) and not self.lost.is_set():
            now = time.monotonic()
            try:
                if now - beaten >= service.heartbeat_seconds:
                    beaten = now
                    beat = service.renew(self._claim)
                    if beat.alive:
                        renewed, self.full = now, False
                else:
                    beat = service.look(self._claim)
                self._learn(beat)
            except AWAY as error:
                self.full = is_full(error)
                logger.warning("no heartbeat (%s)", type(error).__name__, extra=self._ids)
            except Exception as error:
                # One that fails must not end all that are to come: without any, nothing would fence.
                self.full = is_full(error)
                logger.exception("a heartbeat failed", extra=self._ids)
            if time.monotonic() - renewed > service.self_fence_seconds:
                logger.error("no heartbeat came through; the runner is stopped", extra=self._ids)
                self.lost.set()

    def _learn(self, beat: Beat) -> None:
        if not beat.alive:
            if not self.ending:
                logger.warning("the job is held by another attempt", extra=self._ids)
            self.lost.set()
        self.stop_reason = beat.stop or self.stop_reason

    def close(self) -> None:
        """End the thread."""
        self._end.set()
        self.join(timeout=30)
