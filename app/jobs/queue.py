"""Whose turn it is: fair between tenants, by priority within one."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from app.access.usage.quota_store import running_limits
from app.jobs.lifecycle import Claim, claim
from app.models import Job
from app.models.clock import steady_now
from app.models.job_states import LEASED, Status
from app.platform.db import hold


def claim_next(session: Session, owner: str, devices: Sequence[str], *, gpu: bool = False) -> Claim | None:
    """Claim the job whose turn it is among those that ask for one of `devices`; None if there is none.

    `gpu`: the worker has one.

    The turn is that of the tenant with the fewest running jobs; of several, of the one who was served
    the longest ago. A tenant's own jobs go by priority, then by age. So a thousand jobs of one tenant
    hold up another's only for as long as what already runs.
    """
    due = _due(session, devices)
    for tenant_id, limit in _tenants_in_turn(session, due):
        # Rolled back where nothing is claimed: only one tenant's lock is ever held, so that two workers that
        # go through the tenants in different orders never wait for each other.
        attempt = session.begin_nested()
        if _has_room(session, tenant_id, limit):
            first = select(Job.id).where(*due, Job.tenant_id == tenant_id)
            # Two workers at once: the second takes the next one rather than wait for a row that is gone.
            found = session.scalar(
                first.order_by(Job.priority.desc(), Job.id).limit(1).with_for_update(skip_locked=True)
            )
            taken = claim(session, found, owner, gpu=gpu) if found is not None else None
            if taken is not None:
                return taken
        attempt.rollback()
    return None


def _has_room(session: Session, tenant_id: str, limit: int | None) -> bool:
    """Whether the tenant may run one more job. With a limit the answer holds to the end of the transaction.

    Of several workers that count at the same time each would count none of the others' claims.
    """
    if limit is None:
        return True
    hold(session, f"running jobs of {tenant_id}")
    running = select(func.count()).select_from(Job)
    running = running.where(Job.tenant_id == tenant_id, Job.status.in_(LEASED))
    return (session.scalar(running) or 0) < limit


def waiting_tenants(session: Session, device: str) -> list[str]:
    """Tenants with a job that asks for `device` and could be claimed now, as far as that can be seen."""
    return [tenant_id for tenant_id, _ in _tenants_in_turn(session, _due(session, [device]))]


def next_waiting(session: Session, devices: Sequence[str]) -> tuple[str, str] | None:
    """Id and device of some job that could be claimed now; None if there is none."""
    row = session.execute(select(Job.id, Job.device).where(*_due(session, devices)).limit(1)).first()
    return None if row is None else (row.id, row.device)


def _due(session: Session, devices: Sequence[str]) -> tuple[ColumnElement[bool], ...]:
    now = steady_now(session)
    return (Job.status == Status.QUEUED, Job.run_after <= now, Job.device.in_(devices))


def _tenants_in_turn(session: Session, due: tuple[ColumnElement[bool], ...]) -> list[tuple[str, int | None]]:
    """Tenants that seem to have room, each with how many jobs it may run at once."""
    waiting = select(Job.tenant_id).where(*due).distinct().subquery()
    busy = (
        select(Job.tenant_id, func.count().label("jobs"))
        .where(Job.status.in_(LEASED))
        .group_by(Job.tenant_id)
        .subquery()
    )
    served = (
        select(func.max(Job.started_at))
        .where(Job.tenant_id == waiting.c.tenant_id)
        .correlate(waiting)
        .scalar_subquery()
    )
    running = func.coalesce(busy.c.jobs, 0)
    query = select(waiting.c.tenant_id, running).outerjoin(busy, busy.c.tenant_id == waiting.c.tenant_id)
    everybodys, own = running_limits(session)
    tenants: list[tuple[str, int | None]] = []
    for tenant_id, jobs in session.execute(query.order_by(running, served.nulls_first())):
        limit = own.get(tenant_id, everybodys)
        if limit is None or jobs < limit:
            tenants.append((tenant_id, limit))
    return tenants
