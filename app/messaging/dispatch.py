"""Sending what committed transactions owe the broker. A broker that is away delays, never fails."""

from __future__ import annotations

import logging
from functools import cache

from celery import Celery
from kombu.exceptions import OperationalError
from sqlalchemy import delete, select, update

from app.messaging.broker import broker_settings
from app.models import Job, OutboxMessage
from app.models.clock import steady_now
from app.models.tenancy import as_system
from app.platform.db import read_scope, session_scope
from app.platform.settings import get_settings

logger = logging.getLogger(__name__)


@cache
def producer() -> Celery:
    """A Celery application that knows task names only."""
    celery = Celery("dfad")
    celery.conf.update(broker_settings(get_settings()))
    return celery


def send(task: str, subject_id: str, queue: str) -> bool:
    """Send one wake-up. False (and a log line) if the broker cannot be reached."""
    try:
        producer().send_task(task, args=[subject_id], queue=queue, retry=False)
    except (OperationalError, OSError) as error:
        text = "the broker is away (%s); the message waits in the outbox"
        logger.warning(text, type(error).__name__, extra={"job_id": subject_id})
        return False
    return True


def send_due(limit: int = 100) -> int:
    """Send the outbox's due messages and delete those that were sent. Returns how many.

    Whoever dies between sending and deleting sends twice, which is harmless: a message is a hint.
    """
    with as_system(), read_scope() as session:
        due = OutboxMessage.due_at <= steady_now(session)
        query = select(OutboxMessage).where(due).order_by(OutboxMessage.due_at).limit(limit)
        messages = list(session.execute(query).scalars())
    sent = []
    for message in messages:
        if not send(message.task, message.subject_id, message.queue):
            break
        sent.append(message)
    if sent:
        with as_system(), session_scope() as session:
            session.execute(delete(OutboxMessage).where(OutboxMessage.id.in_([m.id for m in sent])))
            session.execute(
                update(Job)
                .where(Job.id.in_([m.subject_id for m in sent]))
                .values(announced_at=steady_now(session))
                .execution_options(synchronize_session=False)
            )
    return len(sent)
