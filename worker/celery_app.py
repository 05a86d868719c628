"""The Celery application. Each setting stands here with its reason."""

from __future__ import annotations

from celery import Celery

from app.broker import broker_settings
from app.config import get_settings

celery_app = Celery("dfad", include=["worker.tasks"])
celery_app.conf.update(broker_settings(get_settings()))
celery_app.conf.update(
    # A message is a hint: it is acknowledged at once. Late acknowledgement with a visibility timeout
    # shorter than a job would run the job again beside itself, and without one would lose it anyway.
    task_acks_late=False,
    # With it, a job that kills its worker would be delivered for ever; attempts are counted in SQL.
    task_reject_on_worker_lost=False,
    # A worker takes one message; the others stay for other workers.
    worker_prefetch_multiplier=1,
    # On Redis even the one beyond the running task is left in the queue.
    worker_disable_prefetch=get_settings().resolved_broker_url.startswith("redis"),
    # A second Ctrl-C ends the worker at once; the lease lapses and the job goes on elsewhere.
    worker_soft_shutdown_timeout=0,
    # No Celery time limits: the supervisor holds the job's deadline.
    task_time_limit=None,
    task_soft_time_limit=None,
    # A lost broker connection must not end the attempt that runs.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_hijack_root_logger=False,
    # Remote control and gossip are of no use here and cost files on the embedded broker.
    worker_send_task_events=False,
    worker_enable_remote_control=False,
)
