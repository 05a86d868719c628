"""What has to be up before work is accepted."""

from __future__ import annotations

from datetime import timedelta

from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.config import get_settings
from app.db import database_now, read_scope
from app.dispatch import producer
from app.models import WorkerBeat

MISSED_ROUNDS = 3
"""A worker that missed this many rounds counts as gone."""


def live_workers(session: Session | None = None) -> list[WorkerBeat]:
    """Workers that were heard of lately."""
    if session is None:
        with read_scope() as own:
            return live_workers(own)
    since = database_now(session) - timedelta(seconds=MISSED_ROUNDS * get_settings().reaper_seconds)
    return list(session.scalars(select(WorkerBeat).where(WorkerBeat.seen_at >= since)))


def check() -> dict[str, str]:
    """ "ok" or what is wrong with database, broker and workers."""
    found = {"database": "ok", "broker": "ok", "worker": "ok"}
    try:
        if not live_workers():
            found["worker"] = "no worker has been heard of lately"
    except SQLAlchemyError:
        found["database"], found["worker"] = "away", "unknown"
    try:
        with producer().connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=2)
    except (BrokerError, OSError):
        found["broker"] = "away"
    return found
