"""`python -m worker` with DFAD_SERVER: one supervisor that gets its jobs over HTTPS.

The main thread waits for jobs and runs them; others inspect, measure and give signs of life, as in a worker
with a database. Webhooks, sweeping and the reaper stay with those.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

from app.platform.full import is_full
from app.platform.settings import get_settings
from app.platform.startup import WRONG_SETTINGS
from app.storage import StoreAway
from app.telemetry import tracing
from worker.devices import worker_devices
from worker.heartbeat import Heartbeat, beat
from worker.idle import IdleEnd
from worker.inspector import Inspector
from worker.measurer import Measurer
from worker.process import RunnerProcess
from worker.remote.connection import KeyRefused
from worker.remote.service import RemoteService
from worker.scratch import sweep_scratch
from worker.service import ServiceAway
from worker.shutdown import ask_shutdown, shutdown_asked
from worker.this_service import get_service
from worker.turn import take_turn

logger = logging.getLogger(__name__)

NO_PLACE = 1
"""Exit code of a worker whose key the server refuses."""
LEAST_PAUSE_SECONDS, MOST_PAUSE_SECONDS = 1.0, 15.0
"""Between two tries while the server is away; they double, with jitter so that crowds spread."""
OUTRUN_SECONDS = 0.5
"""After a job that another worker was faster to claim."""


class _Woken(BaseException):
    """The worker is to end while it waits for a job."""


class _Ends:
    """Signals that end the worker: the first lets the attempt save itself, a second ends it at once."""

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self.waits = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked)
        signal.signal(signal.SIGQUIT, self._at_once)

    def _asked(self, _number: int, _frame: object) -> None:
        ask_shutdown()
        signal.signal(signal.SIGINT, self._at_once)
        if self.waits:
            raise _Woken

    def _at_once(self, number: int, _frame: object) -> None:
        """The kernel ends the runner; the lease lapses and the job goes on elsewhere."""
        signal.signal(number, signal.SIG_DFL)
        self._heartbeat.close()
        os.kill(os.getpid(), number)

    def may_interrupt(self, wait: Callable[[], bool]) -> bool:
        """What `wait` returns; False where the worker is to end meanwhile."""
        try:
            self.waits = True
            if shutdown_asked():
                return False
            return wait()
        except _Woken:
            return False
        finally:
            self.waits = False


def main() -> int:
    """Run until told to stop. Exit code 1 for a key that opens nothing here."""
    settings = get_settings()
    for name in ("httpx2", "httpcore2"):  # a line for each call
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        service = get_service()
    except ValueError as error:
        print(f"{error}", file=sys.stderr)
        return WRONG_SETTINGS
    assert isinstance(service, RemoteService)
    tracing.start(settings, "dfad-worker")
    RunnerProcess.warm_up()
    heartbeat, beside = Heartbeat(), (Inspector(), Measurer())
    ends = _Ends(heartbeat)
    try:
        if not _patiently(ends, _greet):
            return 0
        heartbeat.start()
        if settings.worker_idle_seconds is not None:
            IdleEnd(settings.worker_idle_seconds).start()
        for thread in beside:
            thread.start()
        logger.info("jobs come from %s", settings.server)
        _take_turns(service, ends)
    except KeyRefused as error:
        logger.error("the server refuses the key: %s", error)
        return NO_PLACE
    except _Woken:  # as the wait had just ended by itself
        return 0
    finally:
        for thread in beside:
            thread.close()
        heartbeat.close()
        service.close()
        tracing.stop()
    return 0


def _greet() -> bool:
    """The first sign of life, whose answer has the times of leases."""
    beat()
    return True


def _take_turns(service: RemoteService, ends: _Ends) -> None:
    devices = worker_devices(get_settings())
    while not shutdown_asked():
        sweep_scratch()
        if not _patiently(ends, lambda: service.wait_for_job(devices)):
            continue
        try:
            if take_turn(service, devices) is False:
                ends.may_interrupt(partial(_pause, OUTRUN_SECONDS))
        except KeyRefused:
            raise
        except ServiceAway as error:
            logger.warning("no job could be claimed: %s", error)
            ends.may_interrupt(partial(_pause, LEAST_PAUSE_SECONDS))
        except Exception:
            # An attempt that fails must not end all that are to come; its lease lapses.
            logger.exception("an attempt failed")
            ends.may_interrupt(partial(_pause, LEAST_PAUSE_SECONDS))


def _patiently(ends: _Ends, act: Callable[[], bool]) -> bool:
    """What `act` returns, tried until the server answers; False where the worker is to end."""
    pause = LEAST_PAUSE_SECONDS
    while not shutdown_asked():
        try:
            return ends.may_interrupt(act)
        except KeyRefused:
            raise
        except (ServiceAway, OSError) as error:
            if isinstance(error, OSError) and not (is_full(error) or isinstance(error, StoreAway)):
                raise
            wait = pause * random.uniform(0.75, 1.25)
            logger.warning("the server is away (%s); trying again in %.1f s", error, wait)
            ends.may_interrupt(partial(_pause, wait))
            pause = min(2 * pause, MOST_PAUSE_SECONDS)
    return False


def _pause(seconds: float) -> bool:
    time.sleep(seconds)
    return True
