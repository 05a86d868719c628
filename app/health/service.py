"""Which workers are alive."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.config import get_settings
from app.db import read_scope
from app.models import WorkerBeat
from app.steady_clock import steady_now

MISSED_ROUNDS = 3
"""A worker that missed this many rounds counts as gone."""


def live_workers(session: Session | None = None) -> list[WorkerBeat]:
    """Workers that were heard of lately."""
    if session is None:
        with read_scope() as own:
            return live_workers(own)
    since = steady_now(session) - timedelta(seconds=MISSED_ROUNDS * get_settings().reaper_seconds)
    return list(session.scalars(select(WorkerBeat).where(WorkerBeat.seen_at >= since)))
