"""`python -m worker`: one supervisor. On a machine with several GPUs, start one for each."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from celery.signals import worker_process_init, worker_ready, worker_shutting_down

from app.config import get_settings
from app.db import dispose_engine
from app.jobs.lifecycle import queue_of
from worker.celery_app import celery_app
from worker.devices import worker_devices
from worker.kernel import die_with_parent
from worker.process import RunnerProcess
from worker.reconciler import Reconciler
from worker.shutdown import ask_shutdown
from worker.threads import runner_threads
from worker.webhook_sender import WebhookSender


@worker_ready.connect
def _start_reconciler(**_: Any) -> None:
    Reconciler().start()
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
    RunnerProcess.warm_up(runner_threads(get_settings()))


def main() -> None:
    """Run until told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    celery_app.worker_main(
        ["worker", "--pool", "prefork", "--concurrency", "1", "--loglevel", "INFO", "--without-gossip",
         "--without-mingle", "--hostname", f"dfad-{os.getpid()}@%h",
         "--queues", ",".join(map(queue_of, worker_devices(get_settings()))), *sys.argv[1:]]
    )  # fmt: skip


if __name__ == "__main__":
    main()
