"""What each tenant used in a month, counted in a table of its own that outlives the jobs.

`note` only remembers; the sums are written in the transaction's last moment, behind those of
`app.telemetry.counters` and in the order of the tenants, so that a row that many want is held briefly and two
transactions never wait for one another in a circle. What is rolled back was not counted, and what is
committed was, whichever process is killed when.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import Table, case, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.models import MonthlyUsage
from app.platform.db import database_now
from app.telemetry import counters  # noqa: F401  (it hears of a commit first, in every process)

SUMS = ("jobs_submitted", "jobs_succeeded", "cpu_seconds", "cuda_seconds", "requests")
_NOTED = "used"
_TABLE = cast(Table, MonthlyUsage.__table__)


def month_of(time: datetime) -> str:
    """The month of a time in UTC, as in `2026-11`."""
    return f"{time:%Y-%m}"


def note(session: Session, tenant_id: str, **more: float) -> None:
    """Add to sums (SUMS) of the tenant and the present month when the session's transaction commits."""
    noted: dict[str, dict[str, float]] = session.info.setdefault(_NOTED, {})
    own = noted.setdefault(tenant_id, dict.fromkeys(SUMS, 0))
    for name, by in more.items():
        own[name] += by


def note_attempt(
    session: Session, tenant_id: str, device: str | None, begun: datetime | None, ended: datetime
) -> None:
    """Count the seconds that an attempt held its device: `cpu` or `cuda`.

    Nothing for one that an earlier version of the service began, as nobody knows when.
    """
    if begun is not None and device in ("cpu", "cuda"):
        note(session, tenant_id, **{f"{device}_seconds": max(0.0, (ended - begun).total_seconds())})


@event.listens_for(Session, "before_commit")
def _write(session: Session) -> None:
    noted = session.info.pop(_NOTED, None)
    if noted:
        add(session, noted)


def add(session: Session, sums: Mapping[str, Mapping[str, float]]) -> None:
    """Add sums by tenant to the present month's; the rows stay locked to the end of the transaction."""
    now = database_now(session)
    common = {**dict.fromkeys(SUMS, 0), "month": month_of(now), "peak_stored_bytes": 0, "created_at": now}
    rows = [{**common, **own, "tenant_id": tenant_id} for tenant_id, own in sorted(sums.items())]
    _upsert(session, rows, lambda new: {name: _TABLE.c[name] + new[name] for name in SUMS})


def measure(session: Session, stored: Mapping[str, int]) -> None:
    """Raise the month's peaks to the bytes that each tenant keeps now."""
    now = database_now(session)
    common = {**dict.fromkeys(SUMS, 0), "month": month_of(now), "measured_at": now, "created_at": now}
    rows = [
        {**common, "tenant_id": tenant_id, "peak_stored_bytes": size}
        for tenant_id, size in sorted(stored.items())
    ]
    peak = _TABLE.c.peak_stored_bytes

    def larger(new: Any) -> dict[str, Any]:
        highest = case((new.peak_stored_bytes > peak, new.peak_stored_bytes), else_=peak)
        return {"peak_stored_bytes": highest, "measured_at": new.measured_at}

    _upsert(session, rows, larger)


ROWS_AT_ONCE = 1000
"""In one statement; each has as many values as the table has columns."""


def _upsert(session: Session, rows: list[dict[str, Any]], changed: Callable[[Any], dict[str, Any]]) -> None:
    dialect: Any = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    for start in range(0, len(rows), ROWS_AT_ONCE):
        insert = dialect.insert(MonthlyUsage).values(rows[start : start + ROWS_AT_ONCE])
        changes = changed(insert.excluded)
        session.execute(insert.on_conflict_do_update(index_elements=["tenant_id", "month"], set_=changes))
