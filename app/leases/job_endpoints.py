"""`/leases/jobs`: the attempts of workers that reach the service over HTTP alone.

Not in the description of the interface: both ends are of one release. Who does not hold the lease of what it
names gets 410 `lease_lost`, whatever it names.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Header, Response
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.http.json_body import JsonBody
from app.http.parameters import JobId
from app.jobs.lifecycle import Beat, Claim
from app.jobs.queue import claim_next
from app.leases import ends, records
from app.leases.ends import Ending
from app.leases.holding import Caller, answers, claimed_job, held_job, lost, subject
from app.leases.receipts import received
from app.leases.schemas import ClaimRequest, EndRequest, PublishRequest, RecordRequest
from app.models import JobEvent
from app.models.tenancy import acting_for
from app.platform.db import read_scope, session_scope
from app.platform.errors import FieldProblem, InvalidBody
from app.storage import get_store
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import JobError, JobResult
from dfad_core.contract.progress import PhaseProgress, Progress
from dfad_core.contract.serialization import JsonObject, from_json

MOST_STEPS = 2**31 - 1
"""More than any job has; a larger number might fit no row."""
router = APIRouter(prefix="/leases/jobs", include_in_schema=False)

Fence = Annotated[int, Header(alias="DFAD-Fence", ge=1, description="Number of the claim.")]
Retry = Annotated[bool, Header(alias="DFAD-Retry", description="The answer to an earlier try was lost.")]


@router.post("", response_model=None)
def claim_job(
    holder: Caller,
    asked: Annotated[ClaimRequest, Depends(JsonBody(ClaimRequest, {"devices": ["cpu"]}))],
) -> Response | dict[str, Any]:
    """Claim the job whose turn it is; 204 if there is none. Again with the same secret: the same claim."""
    devices = sorted(holder.devices & set(asked.devices))
    with session_scope() as session:
        claim = claimed_job(session, holder, devices)
        if claim is None:
            claim = claim_next(session, holder.owner, devices, gpu=asked.gpu)
    return Response(status_code=204) if claim is None else asdict(claim)


@router.post("/{job_id}/renewal")
def renew(holder: Caller, job_id: JobId, fence: Fence) -> Beat:
    """A heartbeat. `stop`: what the user asked for meanwhile."""
    claim = held_job(holder, job_id, fence)
    with acting_for(claim.tenant_id):
        return _living(records.renew(claim))


@router.get("/{job_id}")
def look(holder: Caller, job_id: JobId, fence: Fence) -> Beat:
    """What the user wants, between two heartbeats."""
    return _living(records.look(held_job(holder, job_id, fence)))


@router.get("/{job_id}/trace")
def job_trace(holder: Caller, job_id: JobId, fence: Fence) -> records.JobTrace:
    """Where the attempt belongs in a trace."""
    return records.job_trace(held_job(holder, job_id, fence))


@router.post("/{job_id}/records", status_code=204)
def record(
    holder: Caller,
    job_id: JobId,
    fence: Fence,
    asked: Annotated[RecordRequest, Depends(JsonBody(RecordRequest, {"kind": "phase", "data": {}}))],
    retry: Retry = False,
) -> Response:
    """Progress, phases, notes and the like."""
    claim = held_job(holder, job_id, fence)
    data = cast(JsonObject, asked.data)
    with answers(), acting_for(claim.tenant_id):
        if retry and _told(claim, asked.kind, data):
            return Response(status_code=204)
        match asked.kind:
            case "progress":
                progress = from_json(Progress, data)
                if max(progress.step, progress.total_steps) > MOST_STEPS:
                    problem = FieldProblem("/data", f"a step is no larger than {MOST_STEPS}")
                    raise InvalidBody("The progress cannot be.", problem)
                records.record_progress(claim, progress)
            case "phase":
                records.record_phase(claim, str(data.get("phase", ""))[:16])
            case "phase_progress":
                records.record_phase_progress(claim, from_json(PhaseProgress, data))
            case "inspection":
                records.record_teacher(claim, from_json(Inspection, data))
            case "rejection":
                records.record_teacher(claim, from_json(JobError, data))
            case "note" | "warning" as kind:
                records.record_event(claim, kind, data)
    return Response(status_code=204)


def _told(claim: Claim, kind: str, data: JsonObject) -> bool:
    """Whether the job's newest event of the kind says this already: it was told, and the answer was lost."""
    with read_scope() as session:
        newest = _newest(session, claim.job_id, "progress" if kind == "phase_progress" else kind)
    if newest is None:
        return False
    if kind == "phase_progress":
        counted = newest.get("phase")
        same = isinstance(counted, dict) and all(counted.get(n) == data.get(n) for n in counted)
        return same and newest.get("eta_seconds") == data.get("eta_seconds")
    if kind == "progress":
        return newest.get("step") == data.get("step") and newest.get("metrics") == data.get("metrics")
    return newest == data


def _newest(session: Session, job_id: str, kind: str) -> JsonObject | None:
    mine = (JobEvent.job_id == job_id, JobEvent.type == kind)
    return session.scalar(select(JobEvent.data).where(*mine).order_by(JobEvent.seq.desc()).limit(1))


@router.post("/{job_id}/artifacts", status_code=204)
def publish(
    holder: Caller,
    job_id: JobId,
    fence: Fence,
    asked: Annotated[PublishRequest, Depends(JsonBody(PublishRequest, {"receipt": ""}))],
) -> Response:
    """Have the row written for what was brought. Again with the same receipt: nothing happens."""
    claim = held_job(holder, job_id, fence)
    roles = ("samples", "checkpoint") if asked.student is None else ("artifact",)
    file = received(asked.receipt, subject(claim), *roles)
    if not get_store(file.store).has(file.id):  # told before, and deleted since
        return Response(status_code=204)
    with answers(), acting_for(claim.tenant_id):
        if asked.student is None:
            records.publish_file(claim, file)
        else:
            records.keep_student(claim, file, cast(JsonObject, asked.student))
    return Response(status_code=204)


@router.post("/{job_id}/end")
def end(
    holder: Caller,
    job_id: JobId,
    fence: Fence,
    asked: Annotated[EndRequest, Depends(JsonBody(EndRequest, {"how": "stopped", "receipts": []}))],
) -> dict[str, str]:
    """The end of the attempt, with all that it brought for it, in one transaction."""
    claim = held_job(holder, job_id, fence)
    receipts = dict.fromkeys(asked.receipts)
    brought = [received(receipt, subject(claim), "artifact") for receipt in receipts]
    if not all(get_store(file.store).has(file.id) for file in brought):
        raise InvalidBody("A file was discarded.", FieldProblem("/receipts", "its bytes are gone"))
    error = None if asked.error is None else from_json(JobError, asked.error)
    result = None if asked.result is None else from_json(JobResult, asked.result)
    ending = Ending(asked.how, asked.stop, asked.reason, error, result)
    with answers(), acting_for(claim.tenant_id):
        return {"ended": ends.end(claim, ending, brought)}


def _living(beat: Beat) -> Beat:
    if not beat.alive:
        raise lost()
    return beat
