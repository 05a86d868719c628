"""Who calls, and whether what it has claimed is still its own.

A worker chooses a secret for each claim and shows it at every call. The row holds its digest as the owner of
the lease, so that who reads a row, or has another worker's key, holds nothing of it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Header, Request
from sqlalchemy import select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from app.access.keys.principal import Principal
from app.jobs import lifecycle, measurements
from app.jobs.lifecycle import Claim
from app.jobs.measurements import MeasurementClaim
from app.leases.records import LeaseLost
from app.models import Job, Teacher
from app.models.clock import steady_now
from app.models.job_states import LEASED
from app.platform.db import hold, read_scope
from app.platform.errors import FieldProblem, InvalidBody, NotFound, ServiceError
from app.teachers.inspections import WAITING, InspectionClaim

_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}:[0-9]{1,10}")
_SECRET = re.compile(r"[A-Za-z0-9_-]{43,128}")


@dataclass(frozen=True)
class Holder:
    """A worker with the secret of a claim."""

    owner: str
    """As the rows of what it has claimed name it."""
    devices: frozenset[str]
    """Of the jobs that its key may claim."""


def owner_of(worker: str, key_id: str, secret: str) -> str:
    """Who holds what was claimed with this secret by a worker with this key."""
    return f"{worker}:{hashlib.sha256(f'{key_id}:{secret}'.encode()).hexdigest()}"


async def _holder(
    request: Request,
    worker: Annotated[str, Header(alias="DFAD-Worker", description="`host:pid`.")],
    secret: Annotated[str, Header(alias="DFAD-Lease", description="Secret of the claim.")],
) -> Holder:
    principal: Principal = request.state.principal
    if not _NAME.fullmatch(worker):
        raise InvalidBody("The worker's name cannot be read.", FieldProblem("/DFAD-Worker", "not host:pid"))
    if not _SECRET.fullmatch(secret):
        problem = FieldProblem("/DFAD-Lease", "not 43 to 128 letters, digits, - and _")
        raise InvalidBody("The claim's secret cannot be read.", problem)
    owner = owner_of(worker, str(principal.key_id), secret)
    return Holder(owner, principal.worker_devices)


Caller = Annotated[Holder, Depends(_holder)]


def lost() -> ServiceError:
    """The answer to who does not hold what it names: it is another's, over, or was never there."""
    return ServiceError(410, "lease_lost", "The lease is another's, or over: throw the work away.")


def subject(claim: Claim | InspectionClaim | MeasurementClaim) -> str:
    """What the receipts for its files name."""
    if isinstance(claim, Claim):
        return f"{claim.job_id} {claim.fence} {claim.owner}"
    return f"{claim.teacher_id if isinstance(claim, InspectionClaim) else claim.job_id} 0 {claim.owner}"


@contextmanager
def answers() -> Iterator[None]:
    """Turn what the work of a lease raises into refusals."""
    try:
        yield
    except LeaseLost as error:
        raise lost() from error
    except NoResultFound as error:
        raise NotFound("file") from error


def held_job(holder: Holder, job_id: str, fence: int, *, alive: bool = False) -> Claim:
    """The attempt that the holder has. Raises ServiceError 410.

    With `alive` not once its lease has lapsed, though nobody has taken it up yet.
    """
    with read_scope() as session:
        now = steady_now(session)
        mine = (Job.id == job_id, Job.fence == fence, Job.lease_owner == holder.owner)
        living = (Job.lease_expires_at > now,) if alive else ()
        job = session.scalar(select(Job).where(*mine, Job.status.in_(LEASED), *living))
        if job is None:
            raise lost()
        return lifecycle.claim_of(job, holder.owner, now)


def claimed_job(session: Session, holder: Holder, devices: Sequence[str]) -> Claim | None:
    """The attempt that the holder claimed already, if the answer to that was lost.

    Nobody else claims with the same secret until the transaction ends: a worker asks again while the server
    may still be at its first request.
    """
    hold(session, f"claims of {holder.owner}")
    now = steady_now(session)
    mine = (Job.lease_owner == holder.owner, Job.device.in_(devices), Job.lease_expires_at > now)
    job = session.scalar(select(Job).where(Job.status.in_(LEASED), *mine))
    return None if job is None else lifecycle.claim_of(job, holder.owner, now)


def held_inspection(holder: Holder, teacher_id: str | None = None) -> InspectionClaim | None:
    """The inspection that the holder has, of that teacher or of any."""
    with read_scope() as session:
        mine = (Teacher.inspector == holder.owner, Teacher.inspect_after > steady_now(session))
        named = () if teacher_id is None else (Teacher.id == teacher_id,)
        teacher = session.scalar(select(Teacher).where(*WAITING, *mine, *named))
        if teacher is None:
            return None
        return InspectionClaim(teacher.id, teacher.tenant_id, holder.owner)


def held_measurement(holder: Holder, job_id: str | None = None) -> MeasurementClaim | None:
    """The measurement that the holder has, of that job or of any."""
    with read_scope() as session:
        mine = (Job.measurer == holder.owner, Job.measure_after > steady_now(session))
        named = () if job_id is None else (Job.id == job_id,)
        job = session.scalar(select(Job).where(*mine, *named))
        if job is None:
            return None
        return measurements.claim_of(job, holder.owner, job.measure_attempt or 1)
