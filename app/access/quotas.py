"""What one tenant may have and ask at a time. Past it: 429, with when to try again."""

from __future__ import annotations

import math
from collections.abc import Collection

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.access.usage.quota_store import quota_of
from app.models import Artifact, Job, UploadPart
from app.models.job_states import WAITING
from app.platform.db import hold as hold_name
from app.platform.errors import ServiceError

RETRY_SECONDS = 30
FULL_RETRY_SECONDS = 300
"""Where time alone gives no room: clients that wait for a minute or less say so at once."""


WHERE_SEEN = "`GET /usage` and `dfad usage` show quotas and use."


def exceeded(what: str, limit: int, *, retry_seconds: float = RETRY_SECONDS) -> ServiceError:
    """The refusal of what is past a limit that is the same for everybody."""
    return _refusal(f"No more than {limit} {what} at a time.", retry_seconds)


def used_up(quota: str, use: str, advice: str, *, retry_seconds: float = RETRY_SECONDS) -> ServiceError:
    """The refusal of what is past a tenant's quota: its name, its use and limit, and what to do."""
    return _refusal(f"The quota {quota} has no room: {use}. {advice} {WHERE_SEEN}", retry_seconds)


def _refusal(text: str, retry_seconds: float) -> ServiceError:
    headers = {"Retry-After": str(max(1, math.ceil(retry_seconds)))}
    return ServiceError(429, "quota_exceeded", text, headers=headers)


def hold(session: Session, tenant_id: str, *, always: bool = False) -> None:
    """Let what a quota of the tenant counts be written by one transaction after the other, to its end.

    Of many at once each would count none of the others. First in its transaction, see `app.platform.db.hold`.
    Without a quota that counts rows there is nothing to wait for, except for `always`.
    """
    quota = quota_of(tenant_id)
    if not always and quota.queued_jobs is None and quota.stored_bytes is None:
        return
    hold_name(session, f"quotas of {tenant_id}")


def check_queued(session: Session, tenant_id: str) -> None:
    """Raise ServiceError 429 where the tenant has as many waiting jobs as it may."""
    limit = quota_of(tenant_id).queued_jobs
    if limit is None:
        return
    waiting = (Job.tenant_id == tenant_id, Job.status.in_(WAITING))
    number = session.scalar(select(func.count()).select_from(Job).where(*waiting)) or 0
    if number >= limit:
        use = f"{number} of {limit} in use, by queued and paused jobs"
        raise used_up("queued_jobs", use, "Wait for one to start, or cancel one.")


def no_room(limit: int, stored: int, *, retry_seconds: float = FULL_RETRY_SECONDS) -> ServiceError:
    """The refusal of bytes that pass the quota, or of work for a tenant that is past it."""
    use, advice = (
        f"{stored} of {limit} stored bytes in use",
        "To make some, delete jobs, teachers or uploads.",
    )
    return used_up("stored_bytes", use, advice, retry_seconds=retry_seconds)


def check_bytes(session: Session, tenant_id: str, more: int = 0) -> None:
    """Raise ServiceError 429 where `more` bytes would not fit into what the tenant may keep.

    Without more: where it keeps more than that already, as what its jobs make is never refused.
    """
    limit = quota_of(tenant_id).stored_bytes
    if limit is None:
        return
    stored = stored_bytes(session, tenant_id)
    if stored + more > limit:
        raise no_room(limit, stored)


def stored_bytes(session: Session, tenant_id: str, *, apart: Collection[str] = ()) -> int:
    """What the tenant keeps: shared bytes once, and parts of uploads under way; without the blobs `apart`."""
    own = select(Artifact.blob_id, Artifact.bytes).where(Artifact.tenant_id == tenant_id)
    parts = select(func.sum(UploadPart.bytes)).where(UploadPart.tenant_id == tenant_id)
    if apart:
        own = own.where(Artifact.blob_id.not_in(apart))
        parts = parts.where(UploadPart.blob_id.not_in(apart))
    kept = session.scalar(select(func.sum(own.distinct().subquery().c.bytes))) or 0
    return int(kept) + int(session.scalar(parts) or 0)
