"""A thread of the worker, beside that of its job, that does small tasks one after the other."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from app.leases.records import LeaseLost
from app.platform.full import is_full
from app.telemetry.context import bound
from worker.idle import working
from worker.service import AWAY, Service

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
"""Between two looks for a task that waits."""
CLOSE_SECONDS = 5.0

_job_runs = threading.Event()


@contextmanager
def job_running() -> Iterator[None]:
    """While a job runs in this process, tasks beside it take one thread."""
    _job_runs.set()
    try:
        with working():
            yield
    finally:
        _job_runs.clear()


def job_runs() -> bool:
    """Whether one does."""
    return _job_runs.is_set()


class _RoundFailed(Exception):
    """The log says why."""


class Rounds(threading.Thread):
    """Looks every LOOK_SECONDS, and at once while there are more."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self._end = threading.Event()

    def run(self) -> None:
        """Until the process ends."""
        while not self._end.is_set():
            busy = False
            # A round that fails must not end all rounds to come. The task's turn comes again when the claim
            # is over.
            with suppress(_RoundFailed), self._logged():
                busy = self._round()
            if not busy:
                self._end.wait(LOOK_SECONDS)

    def close(self) -> None:
        """End; a task that is under way is given up, and its runner is gone."""
        self._end.set()
        if self.is_alive():
            self.join(CLOSE_SECONDS)

    @contextmanager
    def _task(self, **ids: str) -> Iterator[None]:
        """For the block log lines carry these ids; so does that of its failure, which ends the round."""
        with bound(**ids), self._logged(), working():
            yield

    @contextmanager
    def _logged(self) -> Iterator[None]:
        try:
            yield
        except _RoundFailed:
            raise
        except LeaseLost as error:
            logger.warning("the claim is lost; the %s goes on with another", self.name)
            raise _RoundFailed from error
        except AWAY as error:
            logger.warning("the service is away (%s); the %s waits", type(error).__name__, self.name)
            raise _RoundFailed from error
        except Exception as error:
            if is_full(error):
                logger.error("no space is left; the %s waits", self.name)
            else:
                logger.exception("a round of the %s failed", self.name)
            raise _RoundFailed from error

    def _round(self) -> bool:
        """Do one task; False if none waits, or the worker shuts down."""
        raise NotImplementedError


class ClaimKeeper:
    """Whether a claim still holds; renews it now and then."""

    def __init__(self, renew: Callable[[], bool], service: Service, end: threading.Event) -> None:
        self._renew, self._service, self._end = renew, service, end
        self._renewed = self._tried = time.monotonic()

    def __call__(self) -> bool:
        """False once it is lost, or nobody wants the task done any more.

        While the service is away it holds for `self_fence_seconds`, as a job's lease does.
        """
        if self._end.is_set():
            return False
        now = time.monotonic()
        if now - self._tried < self._service.heartbeat_seconds:
            return True
        self._tried = now
        try:
            holds = self._renew()
        except AWAY as error:
            logger.warning("a claim could not be renewed (%s)", type(error).__name__)
            return now - self._renewed < self._service.self_fence_seconds
        self._renewed = now
        return holds
