"""The audit of a span of time, which ids find: they begin with the time of their making."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Annotated

from fastapi import Query
from pydantic import AwareDatetime, BeforeValidator
from sqlalchemy import ColumnElement, Select, select
from sqlalchemy.orm import Session

from app.models import AuditEvent
from app.platform.ids import first_id

CLOCKS_APART = timedelta(hours=1)
"""How far the clocks of database and server may differ: the oldest lines have the one's time, and ids of the
other's."""

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]")


def _dated(text: str | None) -> str | None:
    """Pydantic alone takes any number for seconds since 1970, which the description does not say."""
    if text is not None and not _DATE.match(text):
        raise ValueError("a date and a time, as in 2026-11-29T12:00:00Z")
    return text


Time = Annotated[AwareDatetime | None, BeforeValidator(_dated)]
Since = Annotated[Time, Query(description="Only what was done at that time or later.")]
Until = Annotated[Time, Query(description="Only what was done before that time.")]


def in_span(since: datetime | None, until: datetime | None) -> Select[AuditEvent]:
    """Lines from `since` on and before `until`; None: no bound."""
    bounds: list[ColumnElement[bool]] = []
    if since is not None:
        bounds += [AuditEvent.created_at >= since, AuditEvent.id >= first_id("aud", _moved(since, -1))]
    if until is not None:
        bounds += [AuditEvent.created_at < until, AuditEvent.id < first_id("aud", _moved(until, 1))]
    return select(AuditEvent).where(*bounds)


def next_lines(
    session: Session, query: Select[AuditEvent], last_id: str | None, limit: int
) -> list[AuditEvent]:
    """The oldest lines of `query` after the one with `last_id`."""
    if last_id is not None:
        query = query.where(AuditEvent.id > last_id)
    return list(session.scalars(query.order_by(AuditEvent.id).limit(limit)))


def _moved(at: datetime, direction: int) -> datetime:
    try:
        return at + direction * CLOCKS_APART
    except OverflowError:
        return at
