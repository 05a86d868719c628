"""The claims of workers on inspections, and the reports that came of them.

A claim is a short lease that its worker renews. Two workers that inspect the same teacher get the same
report: a claim saves work, and guards nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from app.models import Teacher
from app.models.clock import steady_now
from app.platform.db import read_scope, session_scope
from app.platform.settings import get_settings
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import JobError
from dfad_core.contract.serialization import from_json, to_json

WAITING = (Teacher.status == "inspecting", Teacher.deleted_at.is_(None))


@dataclass(frozen=True)
class InspectionClaim:
    """A worker's claim on the inspection of a teacher."""

    teacher_id: str
    tenant_id: str
    owner: str


def inspection_of(teacher: Teacher) -> Inspection | None:
    """The report on a teacher; None while there is none."""
    return None if teacher.inspection is None else from_json(Inspection, teacher.inspection)


def _due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (*WAITING, Teacher.inspect_after <= now)


def claim_inspection(owner: str) -> InspectionClaim | None:
    """Claim the teacher that waits the longest; None if none waits."""
    with read_scope() as session:
        if session.scalar(select(Teacher.id).where(*_due(steady_now(session))).limit(1)) is None:
            return None
    with session_scope() as session:
        now = steady_now(session)
        query = select(Teacher).where(*_due(now)).order_by(Teacher.inspect_after, Teacher.id).limit(1)
        teacher = session.scalar(query.with_for_update(skip_locked=True))
        if teacher is None:
            return None
        claim = InspectionClaim(teacher.id, teacher.tenant_id, owner)
        values = {"inspect_after": _expires(now), "inspector": owner}
        return claim if _change(session, claim, Teacher.inspect_after <= now, **values) else None


def renew(claim: InspectionClaim) -> bool:
    """False: it is inspected or deleted by now, or another's."""
    with session_scope() as session:
        own = Teacher.inspector == claim.owner
        return _change(session, claim, own, inspect_after=_expires(steady_now(session)))


def give_back(claim: InspectionClaim) -> None:
    """Another worker may begin at once."""
    with session_scope() as session:
        own = Teacher.inspector == claim.owner
        _change(session, claim, own, inspect_after=steady_now(session), inspector=None)


def record_inspection(teacher_id: str, found: Inspection | JobError) -> str:
    """inspecting -> ready or rejected: a report or a rejection for a row that still waits.

    A later one changes nothing. Returns the state that this one leads to.
    """
    if isinstance(found, JobError):
        values = {"status": "rejected", "error": to_json(found)}
    else:
        values = {"status": "ready", "inspection": to_json(found)}
    with session_scope() as session:
        session.execute(
            update(Teacher).where(Teacher.id == teacher_id, Teacher.status == "inspecting").values(**values)
        )
    return str(values["status"])


def _expires(now: datetime) -> datetime:
    return now + timedelta(seconds=get_settings().lease_seconds)


def _change(session: Session, claim: InspectionClaim, guard: ColumnElement[bool], **values: Any) -> bool:
    statement = (
        update(Teacher)
        .where(Teacher.id == claim.teacher_id, *WAITING, guard)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return session.execute(statement).rowcount == 1  # type: ignore[attr-defined, no-any-return]
