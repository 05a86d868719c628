"""Every change of a job's state: one conditional UPDATE and its event, in the caller's transaction.

The guard is in the UPDATE's WHERE, so of two writers exactly one wins, on SQLite and PostgreSQL
alike. Writes of an attempt carry its fence: an attempt whose lease was given to another changes
nothing and is told so. What people read is the database's time; what is held or awaited counts on the
steady clock (`app.models.clock`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import case, literal, null, or_, select, update
from sqlalchemy.orm import Session

from app.access.usage.counts import note, note_attempt
from app.jobs.events import append_event
from app.jobs.students import publish_student
from app.models import Job, OutboxMessage
from app.models.clock import steady_now
from app.models.job_states import LEASED, TERMINAL, Status, sources
from app.platform.db import UtcDateTime, database_now
from app.platform.errors import InvalidTransition, NotFound
from app.platform.ids import new_id
from app.platform.settings import get_settings
from app.telemetry import counters, tracing
from dfad_core.contract.job_result import JobError, JobResult
from dfad_core.contract.serialization import JsonObject, JsonValue, to_json

RUN_JOB = "dfad.run_job"
QUEUE = "dfad"
MAX_DOUBLINGS = 10
"""Of the pause before an attempt."""


def queue_of(device: str) -> str:
    """The Celery queue of jobs that ask for `device`: auto, cpu or cuda."""
    return QUEUE if device == "auto" else f"{QUEUE}.{device}"


@dataclass(frozen=True)
class Claim:
    """One attempt's hold on a job."""

    job_id: str
    tenant_id: str
    teacher_id: str
    attempt: int
    fence: int
    owner: str
    resolved_spec: JsonObject
    """As it is stored: an earlier version may have accepted what is invalid now."""
    seconds_before: float = 0.0
    """Time since the job's first attempt began, pauses left out; its deadline counts all attempts."""


@dataclass(frozen=True)
class Beat:
    """What a heartbeat learned."""

    alive: bool
    """False: the lease is lost and the attempt must stop."""
    stop: str | None = None
    """"cancel" or "pause" when the user asked for it."""


def owe_message(
    session: Session, task: str, subject_id: str, due_at: datetime, *, queue: str = QUEUE
) -> None:
    """Put one message into the outbox; it is sent after the commit, at `due_at` or later."""
    session.add(
        OutboxMessage(
            id=new_id("msg"),
            task=task,
            queue=queue,
            subject_id=subject_id,
            due_at=due_at,
        )
    )


def submit(session: Session, job: Job) -> None:
    """nothing -> queued: store a new job, its first event and the message it owes."""
    now = steady_now(session)
    job.status, job.created_at, job.run_after = Status.QUEUED, database_now(session), now
    session.add(job)
    session.flush()
    with tracing.span("job submit", kind="producer", job_id=job.id):
        data = {"status": Status.QUEUED, "reason": "submitted", **tracing.traceparent()}
        append_event(session, job.id, "job.queued", data)
        owe_message(session, RUN_JOB, job.id, now, queue=queue_of(job.device))
    note(session, job.tenant_id, jobs_submitted=1)


def _move(
    session: Session,
    job_id: str,
    target: Status,
    data: Mapping[str, JsonValue],
    *guards: Any,
    attempt_end: datetime | None = None,
    **values: Any,
) -> bool:
    """The one place where `status` changes but for `claim`. False when the guards did not hold.

    `attempt_end`: when the attempt ended, on the steady clock, if the move ends one.
    """
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.status.in_(sources(target)), *guards)
        .values(status=target, **values)
        .returning(Job.tenant_id, Job.attempt_device, Job.attempt_started_at)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(statement).first()
    if row is None:
        return False
    if attempt_end is not None:
        note_attempt(session, row.tenant_id, row.attempt_device, row.attempt_started_at, attempt_end)
    if target == Status.SUCCEEDED:
        note(session, row.tenant_id, jobs_succeeded=1)
    if target in TERMINAL:
        known = publish_student(session, job_id, target, values)
        data = {name: known.get(name, value) for name, value in data.items()}
    kind = "job.requeued" if target == Status.QUEUED else f"job.{target}"
    append_event(session, job_id, kind, {"status": target, **data})
    if target in TERMINAL:
        _count_end(session, job_id, target, data)
    return True


def _count_end(session: Session, job_id: str, status: Status, data: Mapping[str, Any]) -> None:
    counters.count(session, "dfad_jobs_ended", status)
    if status == Status.FAILED:
        counters.count(session, "dfad_jobs_failed", data["error"]["code"])
    times = select(Job.created_at, Job.started_at).where(Job.id == job_id)
    created, started = session.execute(times).one()
    if started is not None:
        took = (database_now(session) - started).total_seconds()
        counters.observe(session, "dfad_job_duration_seconds", took, status.value)
        counters.observe(session, "dfad_job_wait_seconds", (started - created).total_seconds())


def claim(session: Session, job_id: str, owner: str, *, gpu: bool = False) -> Claim | None:
    """queued -> running for one new attempt; None if it is not due, taken, or over.

    `gpu`: the worker has one, which jobs that take any device run on.
    """
    now = steady_now(session)
    settings = get_settings()
    expires = now + timedelta(seconds=settings.lease_seconds)
    statement = (
        update(Job)
        .where(Job.id == job_id, Job.status == Status.QUEUED, Job.run_after <= now)
        .values(
            status=Status.RUNNING,
            phase="loading",
            phase_progress=None,
            attempt=Job.attempt + 1,
            fence=Job.fence + 1,
            lease_owner=owner,
            lease_expires_at=expires,
            waiting_reason=None,
            attempt_started_at=now,
            attempt_device=case((Job.device == "auto", "cuda" if gpu else "cpu"), else_=Job.device),
        )
        .execution_options(synchronize_session=False)
    )
    if session.execute(statement).rowcount != 1:  # type: ignore[attr-defined]
        return None
    job = session.execute(
        select(Job).where(Job.id == job_id).execution_options(populate_existing=True)
    ).scalar_one()
    if job.started_at is None:
        job.started_at, job.clock_started_at = database_now(session), now
        session.flush()
    append_event(session, job_id, "job.running", {"status": Status.RUNNING, "attempt": job.attempt})
    return claim_of(job, owner, now)


def claim_of(job: Job, owner: str, now: datetime) -> Claim:
    """The hold that `owner` has on a job whose latest attempt it is."""
    begun = job.clock_started_at or job.started_at or now
    return Claim(
        job.id,
        job.tenant_id,
        job.teacher_id,
        job.attempt,
        job.fence,
        owner,
        dict(job.resolved_spec),
        seconds_before=max(0.0, (now - begun).total_seconds() - job.paused_seconds),
    )


def _held(claim: Claim) -> tuple[Any, ...]:
    """The guard of an attempt's writes."""
    return (Job.fence == claim.fence, Job.lease_owner == claim.owner)


def heartbeat(session: Session, claim: Claim) -> Beat:
    """Renew the lease if it is still ours and alive; learn whether the user wants a stop."""
    now = steady_now(session)
    expires = now + timedelta(seconds=get_settings().lease_seconds)
    statement = (
        update(Job)
        .where(Job.id == claim.job_id, Job.status.in_(LEASED), Job.lease_expires_at > now, *_held(claim))
        .values(lease_expires_at=expires)
        .returning(Job.stop_requested)
        .execution_options(synchronize_session=False)
    )
    row = session.execute(statement).first()
    return Beat(alive=False) if row is None else Beat(alive=True, stop=row[0])


def update_held(session: Session, claim: Claim, **values: Any) -> bool:
    """Write progress columns of a running attempt; False if the attempt holds the job no more."""
    statement = (
        update(Job)
        .where(Job.id == claim.job_id, Job.status.in_(LEASED), *_held(claim))
        .values(**values)
        .execution_options(synchronize_session=False)
    )
    return session.execute(statement).rowcount == 1  # type: ignore[attr-defined, no-any-return]


_RELEASED: dict[str, Any] = {
    "phase": None,
    "phase_progress": None,
    "eta_seconds": None,
    "lease_owner": None,
    "lease_expires_at": None,
    "stop_requested": None,
}


def _over(now: datetime) -> dict[str, Any]:
    days = get_settings().retention_days
    expires: Any = None
    if days is not None:
        expires = case((Job.keep, null()), else_=literal(now + timedelta(days=days), UtcDateTime))
    return {"finished_at": now, "expires_at": expires, "paused_at": None, **_RELEASED}


def set_keep(session: Session, job: Job, keep: bool) -> None:
    """Keep a job beyond the usual time, or no longer; then it expires counted from its end."""
    days = get_settings().retention_days
    job.keep = keep
    if keep or days is None or job.finished_at is None:
        job.expires_at = None
    else:
        job.expires_at = job.finished_at + timedelta(days=days)
    session.flush()


def succeed(session: Session, claim: Claim, result: JobResult) -> bool:
    """running -> succeeded, unless a cancel was asked for or the attempt is stale."""
    now = database_now(session)
    unasked = or_(Job.stop_requested.is_(None), Job.stop_requested != "cancel")
    data = {"attempt": claim.attempt}
    return _move(
        session, claim.job_id, Status.SUCCEEDED, data, unasked, *_held(claim),
        attempt_end=steady_now(session), result=to_json(result), **_over(now),
    )  # fmt: skip


def fail(session: Session, claim: Claim, error: JobError, result: JobResult | None = None) -> bool:
    """running -> failed; a partial student's result may come with it."""
    now = database_now(session)
    data: JsonObject = {"attempt": claim.attempt, "error": to_json(error)}
    values = {"error": to_json(error), "result": _json(result), **_over(now)}
    ended = steady_now(session)
    return _move(session, claim.job_id, Status.FAILED, data, *_held(claim), attempt_end=ended, **values)


def cancelled(session: Session, claim: Claim, result: JobResult | None = None) -> bool:
    """cancelling -> cancelled, by the attempt that obeyed."""
    now = database_now(session)
    data: JsonObject = {"attempt": claim.attempt, "reason": "asked for"}
    values = {"result": _json(result), **_over(now)}
    ended = steady_now(session)
    return _move(session, claim.job_id, Status.CANCELLED, data, *_held(claim), attempt_end=ended, **values)


def _json(result: JobResult | None) -> JsonObject | None:
    return None if result is None else to_json(result)


def paused(session: Session, claim: Claim) -> bool:
    """pausing -> paused, by the attempt that obeyed. It does not count as one: it did not fail."""
    return _pause(session, claim.job_id, claim.attempt, *_held(claim), attempt=Job.attempt - 1)


def _pause(
    session: Session,
    job_id: str,
    number: int,
    *guards: Any,
    attempt_end: datetime | None = None,
    **values: Any,
) -> bool:
    """`attempt_end`: as of `_move`; now, if it is not given."""
    now = steady_now(session)
    data: JsonObject = {"attempt": number, "reason": "asked for"}
    values |= {"paused_at": now, **_RELEASED, "attempt_end": attempt_end or now}
    return _move(session, job_id, Status.PAUSED, data, Job.status == Status.PAUSING, *guards, **values)


def back_off(attempt: int) -> float:
    """Seconds before the attempt after `attempt`: doubling, with jitter so that crowds spread."""
    doublings = min(max(attempt - 1, 0), MAX_DOUBLINGS)
    return get_settings().retry_backoff_seconds * 2.0**doublings * random.uniform(0.75, 1.25)


def requeue(
    session: Session, claim: Claim, reason: str, *, delay: float, counts: bool = True, **more: Any
) -> bool:
    """running -> queued: the job will run again after `delay` seconds; `more` columns change with it.

    `counts=False` gives the attempt back: a worker that was told to stop is not the job's fault.
    """
    return _requeue(
        session, claim.job_id, claim.attempt, *_held(claim), reason=reason, delay=delay, counts=counts, **more
    )


def _requeue(
    session: Session,
    job_id: str,
    attempt: int,
    *guards: Any,
    reason: str,
    delay: float,
    counts: bool = True,
    attempt_end: datetime | None = None,
    **more: Any,
) -> bool:
    now = steady_now(session)
    due = now + timedelta(seconds=delay)
    values: dict[str, Any] = {
        "attempt_end": attempt_end or now,
        "run_after": due,
        "phase": None,
        "phase_progress": None,
        "eta_seconds": None,
        "lease_owner": None,
        "lease_expires_at": None,
        "announced_at": None,
        **more,
    }
    if not counts:
        values["attempt"] = Job.attempt - 1
    data: JsonObject = {"attempt": attempt, "reason": reason, "delay_seconds": round(delay, 3)}
    if not _move(session, job_id, Status.QUEUED, data, Job.status == Status.RUNNING, *guards, **values):
        return False
    _owe_run(session, job_id, due)
    counters.count(session, "dfad_jobs_requeued", reason.replace(" ", "_"))
    return True


def _owe_run(session: Session, job_id: str, due: datetime) -> None:
    device = session.scalar(select(Job.device).where(Job.id == job_id))
    owe_message(session, RUN_JOB, job_id, due, queue=queue_of(device or "auto"))


def give_up_attempt(session: Session, claim: Claim, reason: str, error: JobError) -> str:
    """After a lost or crashed attempt: another one, or failed at the last. Returns what happened.

    A job that was to be paused is: resuming it is the next attempt.
    """
    if _pause(session, claim.job_id, claim.attempt, *_held(claim)):
        return "paused"
    if claim.attempt < get_settings().max_attempts:
        done = requeue(session, claim, reason, delay=back_off(claim.attempt))
        return "requeued" if done else "stale"
    return "failed" if fail(session, claim, error) else "stale"


def request_cancel(session: Session, job_id: str, tenant_id: str) -> Job:
    """What the user's cancel does. Idempotent; InvalidTransition once the job has ended otherwise."""
    job = locked(session, job_id, tenant_id)
    status = Status(job.status)
    if status in (Status.QUEUED, Status.PAUSED):
        _move(session, job_id, Status.CANCELLED, {"reason": "asked for"}, **_over(database_now(session)))
    elif status in (Status.RUNNING, Status.PAUSING):
        _move(session, job_id, Status.CANCELLING, {"reason": "asked for"}, stop_requested="cancel")
    elif status in (Status.SUCCEEDED, Status.FAILED):
        raise InvalidTransition(status, "cancelled")
    session.refresh(job)
    return job


def locked(session: Session, job_id: str, tenant_id: str) -> Job:
    """The tenant's job; nobody else changes it before the transaction ends. Raises NotFound."""
    owned = select(Job).where(Job.id == job_id, Job.tenant_id == tenant_id)
    job = session.execute(owned.with_for_update()).scalar_one_or_none()
    if job is None:
        raise NotFound("job")
    return job


def request_pause(session: Session, job_id: str, tenant_id: str) -> Job:
    """What the user's pause does. Idempotent; InvalidTransition once the job ends or has ended."""
    job = locked(session, job_id, tenant_id)
    status = Status(job.status)
    if status == Status.QUEUED:
        _move(session, job_id, Status.PAUSED, {"reason": "asked for"}, paused_at=steady_now(session))
    elif status == Status.RUNNING:
        _move(session, job_id, Status.PAUSING, {"reason": "asked for"}, stop_requested="pause")
    elif status not in (Status.PAUSING, Status.PAUSED):
        raise InvalidTransition(status, "paused")
    session.refresh(job)
    return job


def request_resume(session: Session, job_id: str, tenant_id: str) -> Job:
    """paused -> queued; what the user's resume does. Nothing for a job that is queued or running."""
    job = locked(session, job_id, tenant_id)
    status = Status(job.status)
    if status == Status.PAUSED:
        now = steady_now(session)
        rested = (now - job.paused_at).total_seconds() if job.started_at and job.paused_at else 0.0
        values = {"run_after": now, "paused_at": None, "announced_at": None}
        data = {"reason": "resumed"}
        _move(session, job_id, Status.QUEUED, data, paused_seconds=Job.paused_seconds + rested, **values)
        _owe_run(session, job_id, now)
    elif status not in (Status.QUEUED, Status.RUNNING):
        raise InvalidTransition(status, "resumed")
    session.refresh(job)
    return job


def expire_leases(session: Session) -> list[str]:
    """The reaper: a job whose lease has lapsed is run again, failed, or ended as the user asked.

    Returns the ids. Any number of reapers may run at once: the guard is the lapsed lease itself. A lost
    attempt ended, as far as anybody knows, when its worker was last heard of.
    """
    now = steady_now(session)
    lapsed = select(Job).where(Job.status.in_(LEASED), Job.lease_expires_at <= now).limit(100)
    changed = []
    data: JsonObject
    for job in session.execute(lapsed.with_for_update(skip_locked=True)).scalars():
        still = (Job.fence == job.fence, Job.lease_expires_at <= now)
        heard = _last_heard(job)
        if job.status == Status.CANCELLING:
            data = {"attempt": job.attempt, "reason": "asked for; its worker is gone"}
            over = {"attempt_end": heard, **_over(database_now(session))}
            done = _move(session, job.id, Status.CANCELLED, data, *still, **over)
        elif job.status == Status.PAUSING:
            done = _pause(session, job.id, job.attempt, *still, attempt_end=heard)
        elif job.attempt < get_settings().max_attempts:
            # The wait for the lease is a part of the back-off: a lost worker need not cost more than that.
            delay = max(0.0, back_off(job.attempt) - (now - heard).total_seconds())
            done = _requeue(
                session,
                job.id,
                job.attempt,
                *still,
                reason="lease expired",
                delay=delay,
                attempt_end=heard,
            )
        else:
            error = {"code": "worker_lost", "message": "Every attempt lost its worker."}
            data = {"attempt": job.attempt, "error": error}
            over = {"attempt_end": heard, "error": error, **_over(database_now(session))}
            done = _move(session, job.id, Status.FAILED, data, *still, **over)
        if done:
            changed.append(job.id)
            counters.count(session, "dfad_leases_lost")
    return changed


def _last_heard(job: Job) -> datetime:
    """When its worker last renewed the lease."""
    assert job.lease_expires_at is not None
    return job.lease_expires_at - timedelta(seconds=get_settings().lease_seconds)


def is_terminal(status: str) -> bool:
    """Whether a job in `status` has ended."""
    return Status(status) in TERMINAL
