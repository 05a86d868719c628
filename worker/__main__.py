"""`python -m worker`: one supervisor. On a machine with several GPUs, start one for each.

With DFAD_SERVER its jobs come over HTTPS (`worker.remote.program`), else through Celery and the database.

Celery takes the messages in the main thread and runs the task, which only watches a runner, in another. The
engine and whatever else may crash are in processes of their own.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import celery.apps.worker
from celery.signals import celeryd_after_setup, setup_logging, worker_ready, worker_shutting_down

from app.jobs.lifecycle import queue_of
from app.platform.settings import get_settings
from app.platform.startup import settings_or_exit, warn_of_unknown_variables
from app.telemetry import tracing
from app.telemetry.logs import configure
from worker.devices import worker_devices
from worker.heartbeat import Heartbeat
from worker.idle import IdleEnd
from worker.inspector import Inspector
from worker.measurer import Measurer
from worker.process import RunnerProcess
from worker.reconciler import Reconciler
from worker.shutdown import ask_shutdown
from worker.sweeper import Sweeper
from worker.webhook_sender import WebhookSender

_inspector, _measurer = Inspector(), Measurer()
_heartbeat = Heartbeat()


@setup_logging.connect
def _our_logs(**_: Any) -> None:
    # That somebody listens keeps Celery from setting up logs of its own.
    configure(get_settings(), "worker")


# Otherwise Celery writes a bare "Warm shutdown" past the loggers.
celery.apps.worker.safe_say = lambda *_, **__: None


@celeryd_after_setup.connect
def _start_beside_jobs(**_: Any) -> None:
    # In the main thread: the kernel ends the processes that a thread started together with that thread.
    RunnerProcess.warm_up()
    _inspector.start()
    _measurer.start()


@worker_ready.connect
def _start_threads(**_: Any) -> None:
    _heartbeat.start()
    Reconciler().start()
    Sweeper().start()
    if get_settings().webhook_senders:
        WebhookSender().start()
    if (limit := get_settings().worker_idle_seconds) is not None:
        IdleEnd(limit).start()
    signal.signal(signal.SIGQUIT, _end_at_once)


def _end_at_once(number: int, _frame: object) -> None:
    """Take leave and end: Celery's own handler would wait for the attempt, whose thread nothing interrupts.

    The kernel ends the runner; the lease lapses and the job goes on elsewhere.
    """
    signal.signal(number, signal.SIG_DFL)
    _heartbeat.close()
    os.kill(os.getpid(), number)


@worker_shutting_down.connect
def _end_attempt(**_: Any) -> None:
    # SIGTERM and Ctrl-C begin Celery's warm shutdown, which waits for the running task and sends this
    # signal first: the attempt saves itself and ends within the grace time.
    ask_shutdown()
    signal.signal(signal.SIGINT, _end_at_once)


def main() -> None:
    """Run until told to stop."""
    configure(settings_or_exit(), "worker")
    warn_of_unknown_variables()
    settings = get_settings()
    if settings.server is not None:
        from worker.remote.program import main as remote

        sys.exit(remote())
    from worker.celery_app import celery_app  # reads the settings as it is made

    tracing.start(settings, "dfad-worker")
    try:
        celery_app.worker_main(
            ["--quiet",
             "worker", "--pool", "threads", "--concurrency", "1", "--loglevel", "INFO", "--without-gossip",
             "--without-mingle", "--hostname", f"dfad-{os.getpid()}@%h",
             "--queues", ",".join(map(queue_of, worker_devices(settings))), *sys.argv[1:]]
        )  # fmt: skip
    finally:
        _inspector.close()
        _measurer.close()
        _heartbeat.close()
        tracing.stop()


if __name__ == "__main__":
    main()
