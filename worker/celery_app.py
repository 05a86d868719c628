"""The Celery application. Each setting stands here with its reason."""

from __future__ import annotations

from celery import Celery

from app.messaging.broker import broker_settings
from app.platform.settings import get_settings

celery_app = Celery("dfad", include=["worker.tasks"])
celery_app.conf.update(broker_settings(get_settings()))
celery_app.conf.update(
    # A message is a hint: it is acknowledged at once. Late acknowledgement with a visibility timeout
    # shorter than a job would run the job again beside itself, and without one would lose it anyway.
    task_acks_late=False,
    # A worker takes one message; the others stay for other workers.
    worker_prefetch_multiplier=1,
    # On Redis even the one beyond the running task is left in the queue.
    worker_disable_prefetch=get_settings().resolved_broker_url.startswith("redis"),
    # Remote control and gossip are of no use here and cost files on the embedded broker.
    worker_enable_remote_control=False,
)
