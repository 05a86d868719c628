"""Whether there is something to claim: what workers wait for over HTTP, in the place of a broker's messages.

It is a hint, as a message is. However many workers wait, a server process looks at the database once in
LOOK_SECONDS for all of them, and none of them holds a connection or a thread meanwhile. It also takes back
the jobs of lost workers, as workers with a database do: there may be none.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

import anyio
from anyio import to_thread
from anyio.lowlevel import RunVar
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.http.waiting import stopping
from app.jobs.lifecycle import expire_leases
from app.jobs.queue import waiting_tenants
from app.models import Job, Teacher
from app.models.clock import steady_now
from app.models.tenancy import ALL_TENANTS, as_system
from app.platform.db import read_scope, session_scope
from app.platform.full import is_full
from app.platform.settings import get_settings
from app.teachers.inspections import WAITING

logger = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
DEVICES = ("auto", "cpu", "cuda")
Kind = Literal["jobs", "inspections", "measurements"]


@dataclass(frozen=True)
class _Due:
    """Tenants with work that waits, by kind; of jobs by kind and device."""

    tenants: dict[tuple[Kind, str], set[str]]

    def has(self, kind: Kind, devices: Collection[str], tenant_id: str) -> bool:
        found: set[str] = set()
        for device in devices if kind == "jobs" else ("",):
            found |= self.tenants.get((kind, device), set())
        return bool(found) if tenant_id == ALL_TENANTS else tenant_id in found


class _Looks:
    """Of one event loop."""

    def __init__(self) -> None:
        self._lock = anyio.Lock()
        self._at, self._latest = -math.inf, _Due({})
        self._reaps_at = -math.inf

    async def latest(self) -> _Due:
        async with self._lock:
            if time.monotonic() >= self._reaps_at:
                self._reaps_at = time.monotonic() + await to_thread.run_sync(_reap)
            if time.monotonic() - self._at >= LOOK_SECONDS:
                self._latest = await to_thread.run_sync(_look)
                self._at = time.monotonic()
            return self._latest


_looks: RunVar[_Looks] = RunVar("_looks")


def _reap() -> float:
    """Take back the jobs whose lease has lapsed; seconds until that is to be done again."""
    settings = get_settings()
    try:
        with as_system(), session_scope() as session:
            expired = expire_leases(session)
    except SQLAlchemyError as error:
        logger.warning("no lapsed lease could be looked for (%s)", type(error).__name__)
        # Without space no lease could be renewed and no job given back: time for that first.
        return settings.lease_seconds if is_full(error) else LOOK_SECONDS
    for job_id in expired:
        logger.warning("the lease of the job expired", extra={"job_id": job_id})
    return settings.reaper_seconds


def _look() -> _Due:
    with as_system(), read_scope() as session:
        tenants: dict[tuple[Kind, str], set[str]] = {
            ("jobs", device): set(waiting_tenants(session, device)) for device in DEVICES
        }
        tenants["inspections", ""], tenants["measurements", ""] = _beside(session)
    return _Due(tenants)


def _beside(session: Session) -> tuple[set[str], set[str]]:
    now = steady_now(session)
    teachers = select(Teacher.tenant_id).where(*WAITING, Teacher.inspect_after <= now).distinct()
    jobs = select(Job.tenant_id).where(Job.measure_after <= now).distinct()
    return set(session.scalars(teachers)), set(session.scalars(jobs))


async def wait_until_due(kind: Kind, devices: Collection[str], tenant_id: str, seconds: float) -> bool:
    """Whether something waits to be claimed, at once or within `seconds`; False as the server ends."""
    try:
        looks = _looks.get()
    except LookupError:  # of this event loop none has been made yet
        looks = _Looks()
        _looks.set(looks)
    until = time.monotonic() + seconds
    while not (await looks.latest()).has(kind, devices, tenant_id):
        if stopping.is_set() or time.monotonic() >= until:
            return False
        await anyio.sleep(min(LOOK_SECONDS, max(0.0, until - time.monotonic())))
    return True
