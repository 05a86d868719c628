"""The clock that leases, back-offs and signs of life count on: nobody can set it.

On PostgreSQL it is the database's, one for all machines. SQLite has the one machine's time of day, and that
jumps: by a time server, by hand, or when a laptop wakes up. There the clock counts the time that the machine
ran since its boot, and stands still while it sleeps. It begins at the time of day, so that its values look
like any others; later the two may drift apart, and what people read is not taken from this one.

Nothing of an earlier boot is held or awaited any more: its workers are gone.
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import Connection, Table, delete, insert, select, update
from sqlalchemy.orm import Session

from app.models import Job, OutboxMessage, SteadyClock, StoreMove, Teacher, Upload, WorkerBeat
from app.platform.db import database_now
from dfad_core.contract.machine import boot_id


def steady_now(session: Session) -> datetime:
    """The time, in UTC, for what must not end or wait because somebody sets a clock."""
    boot = boot_id() if session.get_bind().dialect.name == "sqlite" else None
    if boot is None:
        return database_now(session)
    # Past the session's own rules: this is no tenant's.
    connection = session.connection()
    row = connection.execute(select(SteadyClock.boot_id, SteadyClock.booted_at)).first()
    if row is not None and row.boot_id == boot:
        return cast(datetime, row.booted_at) + timedelta(seconds=time.monotonic())
    now = database_now(session)
    if not session.info.get("read_only"):
        _begin(connection, boot, now, again=row is not None)
    return now


def _begin(connection: Connection, boot: str, now: datetime, *, again: bool) -> None:
    """Write the clock's beginning, in the caller's transaction; `again`: after another boot."""
    connection.execute(delete(SteadyClock))
    since = now - timedelta(seconds=time.monotonic())
    connection.execute(insert(SteadyClock).values(id=1, boot_id=boot, booted_at=since))
    if not again:
        return
    connection.execute(delete(WorkerBeat))
    for model, name in (
        (Job, "lease_expires_at"),
        (Job, "run_after"),
        (Job, "measure_after"),
        (Teacher, "inspect_after"),
        (OutboxMessage, "due_at"),
        (Upload, "completing_until"),
        (StoreMove, "expires_at"),
    ):
        table = cast(Table, cast(Any, model).__table__)
        connection.execute(update(table).where(table.c[name] > now).values({name: now}))
