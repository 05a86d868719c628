"""What tenants used, read from the database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.usage import quota_store
from app.access.usage.counts import measure, month_of
from app.access.usage.quota_store import EVERYBODY
from app.access.usage.schemas import DeviceSeconds, MonthlyUsageView, QuotaView, TenantUsageView, Use
from app.models import Artifact, Job, MonthlyUsage, StoredQuota, UploadPart
from app.models.job_states import LEASED, WAITING
from app.platform.db import database_now, read_scope, session_scope
from app.platform.settings import Quota, get_settings


def default_months(session: Session) -> tuple[str, str]:
    """The present month and the eleven before: the first and the last."""
    now = database_now(session)
    return f"{now.year - (now.month < 12):04d}-{now.month % 12 + 1:02d}", month_of(now)


def tenants_with_use(
    session: Session, months: tuple[str, str], *, after: str | None, limit: int
) -> tuple[list[str], bool]:
    """Names of one page of the tenants that used something in these months, and whether more follow."""
    query = select(MonthlyUsage.tenant_id).where(MonthlyUsage.month.between(*months)).distinct()
    if after is not None:
        query = query.where(MonthlyUsage.tenant_id > after)
    found = list(session.scalars(query.order_by(MonthlyUsage.tenant_id).limit(limit + 1)))
    return found[:limit], len(found) > limit


def usage_of(session: Session, tenants: Sequence[str], months: tuple[str, str]) -> list[TenantUsageView]:
    """Quota, present use and the months' sums of each of these tenants."""
    queued, running = _jobs(session, tenants)
    stored, quotas = stored_by_tenant(session, tenants), quota_store.read(session)
    present = month_of(database_now(session))
    sums: dict[str, list[MonthlyUsageView]] = defaultdict(list)
    query = select(MonthlyUsage).where(MonthlyUsage.tenant_id.in_(tenants))
    for row in session.scalars(
        query.where(MonthlyUsage.month.between(*months)).order_by(MonthlyUsage.month.desc())
    ):
        least = stored.get(row.tenant_id, 0) if row.month == present else 0
        sums[row.tenant_id].append(_month(row, least))
    return [
        TenantUsageView(
            tenant_id=tenant_id,
            quota=quota_store.quota_of(tenant_id, quotas),
            in_use=Use(
                queued_jobs=queued.get(tenant_id, 0),
                running_jobs=running.get(tenant_id, 0),
                stored_bytes=stored.get(tenant_id, 0),
            ),
            months=sums[tenant_id],
        )
        for tenant_id in tenants
    ]


def _month(row: MonthlyUsage, stored_bytes: int) -> MonthlyUsageView:
    return MonthlyUsageView(
        month=row.month,
        jobs_submitted=row.jobs_submitted,
        jobs_succeeded=row.jobs_succeeded,
        device_seconds=DeviceSeconds(cpu=round(row.cpu_seconds, 3), cuda=round(row.cuda_seconds, 3)),
        requests=row.requests,
        peak_stored_bytes=max(row.peak_stored_bytes, stored_bytes),
    )


def _jobs(session: Session, tenants: Sequence[str]) -> tuple[dict[str, int], dict[str, int]]:
    """How many jobs of each tenant wait, and how many run."""
    waiting: dict[str, int] = defaultdict(int)
    running: dict[str, int] = defaultdict(int)
    alive = Job.status.in_([*WAITING, *LEASED])
    query = select(Job.tenant_id, Job.status, func.count()).where(Job.tenant_id.in_(tenants), alive)
    for tenant_id, status, number in session.execute(query.group_by(Job.tenant_id, Job.status)):
        (waiting if status in WAITING else running)[tenant_id] += number
    return waiting, running


def stored_by_tenant(session: Session, tenants: Collection[str] | None = None) -> dict[str, int]:
    """What each tenant keeps, as `app.access.quotas.stored_bytes`; None: of all that keep something."""
    own = select(Artifact.tenant_id, Artifact.blob_id, Artifact.bytes).distinct()
    parts = select(UploadPart.tenant_id, func.sum(UploadPart.bytes)).group_by(UploadPart.tenant_id)
    if tenants is not None:
        own = own.where(Artifact.tenant_id.in_(tenants))
        parts = parts.where(UploadPart.tenant_id.in_(tenants))
    blobs = own.subquery()
    kept = select(blobs.c.tenant_id, func.sum(blobs.c.bytes)).group_by(blobs.c.tenant_id)
    found: dict[str, int] = defaultdict(int)
    for query in (kept, parts):
        for tenant_id, size in session.execute(query):
            found[tenant_id] += int(size)
    return found


def quota_view(session: Session, tenant_id: str) -> QuotaView:
    """One tenant's quota, or everybody's, whether or not it is set."""
    row = session.get(StoredQuota, tenant_id)
    return _view(tenant_id, None if row is None else row.updated_at, quota_store.read(session))


def quota_views(session: Session) -> list[QuotaView]:
    """Everybody's, and those of all tenants that have something set."""
    stored = quota_store.read(session)
    times = {row.tenant_id: row.updated_at for row in session.scalars(select(StoredQuota))}
    names = sorted({EVERYBODY, *times, *get_settings().quotas})
    return [_view(name, times.get(name), stored) for name in names]


def _view(tenant_id: str, updated_at: datetime | None, stored: Mapping[str, Quota]) -> QuotaView:
    return QuotaView(
        tenant_id=tenant_id,
        holds=quota_store.quota_of(tenant_id, stored),
        stored=stored.get(tenant_id),
        configured=get_settings().quotas.get(tenant_id),
        updated_at=updated_at,
    )


def measure_stored_bytes(every: timedelta) -> bool:
    """Raise this month's peaks to what tenants keep now; False where that was done less than `every` ago.

    Any number of workers may look; two that look at the same moment both measure, which does no harm.
    """
    with read_scope() as session:
        last = session.scalar(select(func.max(MonthlyUsage.measured_at)))
        if last is not None and database_now(session) - last < every:
            return False
        stored = {tenant_id: size for tenant_id, size in stored_by_tenant(session).items() if size}
    with session_scope() as session:
        measure(session, stored)
    return True
