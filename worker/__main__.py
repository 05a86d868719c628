"""`python -m worker`: one supervisor. On a machine with several GPUs, start one for each."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import celery.apps.worker
from celery.signals import (
    setup_logging,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)

from app.config import get_settings
from app.db import dispose_engine
from app.jobs.lifecycle import queue_of
from app.startup import settings_or_exit, warn_of_unknown_variables
from app.telemetry import tracing
from app.telemetry.logs import configure
from worker.devices import worker_devices
from worker.heartbeat import Heartbeat
from worker.inspector import Inspector
from worker.kernel import die_with_parent
from worker.measurer import Measurer
from worker.process import RunnerProcess
from worker.reconciler import Reconciler
from worker.scratch import own_temporary_folder
from worker.shutdown import ask_shutdown
from worker.sweeper import Sweeper
from worker.webhook_sender import WebhookSender

_inspector, _measurer = Inspector(), Measurer()
"""Made here, and begun by the child."""
_heartbeat = Heartbeat()


@setup_logging.connect
def _our_logs(**_: Any) -> None:
    # That somebody listens keeps Celery from setting up logs of its own, here and in the child.
    configure(get_settings(), "worker")


# Otherwise Celery writes a bare "Warm shutdown" past the loggers.
celery.apps.worker.safe_say = lambda *_, **__: None


@worker_ready.connect
def _start_threads(**_: Any) -> None:
    _heartbeat.start()
    Reconciler().start()
    Sweeper().start()
    if get_settings().webhook_senders:
        WebhookSender().start()


@worker_shutting_down.connect
def _tell_child(**_: Any) -> None:
    # SIGTERM and Ctrl-C begin Celery's warm shutdown, which waits for the running task and sends this
    # signal first: the attempt saves itself and ends within the grace time. The soft shutdown is not
    # used: it sends the signal when its time is over, and sleeps for all of it.
    ask_shutdown()


@worker_process_init.connect
def _in_child(**_: Any) -> None:
    die_with_parent()
    dispose_engine()  # connections must not be shared over a fork
    tracing.start(get_settings(), "dfad-worker")
    RunnerProcess.warm_up()
    _inspector.start()
    _measurer.start()


@worker_process_shutdown.connect
def _child_ends(**_: Any) -> None:
    _inspector.close()
    _measurer.close()
    tracing.stop()


def main() -> None:
    """Run until told to stop."""
    configure(settings_or_exit(), "worker")
    warn_of_unknown_variables()
    from worker.celery_app import celery_app  # reads the settings as it is made

    with own_temporary_folder(), contextlib.closing(_heartbeat):
        celery_app.worker_main(
            ["--quiet",
             "worker", "--pool", "prefork", "--concurrency", "1", "--loglevel", "INFO", "--without-gossip",
             "--without-mingle", "--hostname", f"dfad-{os.getpid()}@%h",
             "--queues", ",".join(map(queue_of, worker_devices(get_settings()))), *sys.argv[1:]]
        )  # fmt: skip


if __name__ == "__main__":
    main()
