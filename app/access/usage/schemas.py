"""Quotas and use as they are shown."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from app.platform.settings import Quota


class QuotaView(BaseModel):
    """What one tenant may have at a time, or everybody (`*`), and where that is set."""

    object: str = "quota"
    tenant_id: str
    holds: Quota
    """What holds for the tenant: of each limit the first that is set by the tenant's own row here, its own
    entry in DFAD_QUOTAS, everybody's row (`*`), everybody's entry. Null: no limit."""
    stored: Quota | None
    """The row, as it was put here; null: none."""
    configured: Quota | None
    """The entry in DFAD_QUOTAS of the server; null: none."""
    updated_at: datetime | None
    """When the row was put; null: there is none."""


class QuotaList(BaseModel):
    """Everybody's quota and those of all tenants with their own, by name."""

    data: list[QuotaView]


class Use(BaseModel):
    """What a tenant has at this moment, by the names of the quotas that bound it."""

    queued_jobs: int
    """Queued and paused ones."""
    running_jobs: int
    """Those that a worker holds."""
    stored_bytes: int
    """Teachers, uploads with their parts, and what jobs made; equal files once."""


class DeviceSeconds(BaseModel):
    """For how long attempts held a worker, from the claim to the end of each, however it ended.

    An attempt counts in the month in which it ends. A lost one ended when its worker was last heard of.
    """

    cpu: float
    cuda: float


class MonthlyUsageView(BaseModel):
    """What one tenant used in one month."""

    month: str
    """Of UTC, as in `2026-11`."""
    jobs_submitted: int
    jobs_succeeded: int
    device_seconds: DeviceSeconds
    requests: int
    """That were let in; written down every few seconds."""
    peak_stored_bytes: int
    """The most that was stored, of what workers measured every ten minutes."""


class TenantUsageView(BaseModel):
    """A tenant's quota, what it has now, and what it used in each month, the latest first."""

    object: str = "usage"
    tenant_id: str
    quota: Quota
    in_use: Use
    months: list[MonthlyUsageView]


class UsageList(BaseModel):
    """The tenant's own use; for the operator a page of all tenants, by name."""

    data: list[TenantUsageView]
    has_more: bool
    last_id: str | None
    """Name of the page's last tenant, for `after`."""
