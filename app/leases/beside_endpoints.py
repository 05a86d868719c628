"""`/leases/inspections` and `/leases/measurements`: what workers do beside their jobs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from app.files.artifacts.blobs import forget
from app.http.json_body import JsonBody
from app.http.parameters import JobId, TeacherId
from app.jobs import measurements
from app.jobs.measurements import MeasurementClaim
from app.leases.holding import Caller, Holder, held_inspection, held_measurement, lost, subject
from app.leases.receipts import received
from app.leases.schemas import InspectionRequest, MeasurementRequest, PauseRequest
from app.models.tenancy import acting_for
from app.platform.errors import FieldProblem, InvalidBody
from app.teachers import inspections
from app.teachers.inspections import InspectionClaim
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import Accuracy, JobError
from dfad_core.contract.serialization import from_json

router = APIRouter(prefix="/leases", include_in_schema=False)


@router.post("/inspections", response_model=None)
def claim_inspection(holder: Caller) -> Response | dict[str, Any]:
    """Claim the teacher that has waited the longest; 204 if none waits."""
    claim = held_inspection(holder)
    if claim is None:
        claim = inspections.claim_inspection(holder.owner)
    return Response(status_code=204) if claim is None else asdict(claim)


@router.post("/inspections/{teacher_id}/renewal", status_code=204)
def renew_inspection(holder: Caller, teacher_id: TeacherId) -> Response:
    """The worker is still at it."""
    claim = _inspection(holder, teacher_id)
    with acting_for(claim.tenant_id):
        return _done(inspections.renew(claim))


@router.delete("/inspections/{teacher_id}", status_code=204)
def give_back_inspection(holder: Caller, teacher_id: TeacherId) -> Response:
    """Another worker may begin."""
    claim = _inspection(holder, teacher_id)
    with acting_for(claim.tenant_id):
        inspections.give_back(claim)
    return Response(status_code=204)


@router.post("/inspections/{teacher_id}/report")
def record_inspection(
    holder: Caller,
    teacher_id: TeacherId,
    asked: Annotated[InspectionRequest, Depends(JsonBody(InspectionRequest, {"inspection": {}}))],
) -> dict[str, str]:
    """What the teacher is, or why it is refused."""
    claim = _inspection(holder, teacher_id)
    found: Inspection | JobError
    if asked.error is not None:
        found = from_json(JobError, asked.error)
    elif asked.inspection is not None:
        found = from_json(Inspection, asked.inspection)
    else:
        raise InvalidBody("There is no report.", FieldProblem("", "neither inspection nor error"))
    with acting_for(claim.tenant_id):
        return {"status": inspections.record_inspection(teacher_id, found)}


@router.post("/measurements", response_model=None)
def claim_measurement(holder: Caller) -> Response | dict[str, Any]:
    """Claim the job that has waited the longest to be measured; 204 if none waits."""
    claim = held_measurement(holder)
    if claim is None:
        claim = measurements.claim_measurement(holder.owner)
    return Response(status_code=204) if claim is None else asdict(claim)


@router.post("/measurements/{job_id}/renewal", status_code=204)
def renew_measurement(holder: Caller, job_id: JobId) -> Response:
    """The worker is still at it."""
    claim = _measurement(holder, job_id)
    with acting_for(claim.tenant_id):
        return _done(measurements.renew(claim))


@router.post("/measurements/{job_id}/return", status_code=204)
def give_back_measurement(
    holder: Caller,
    job_id: JobId,
    asked: Annotated[PauseRequest, Depends(JsonBody(PauseRequest, {"pause_seconds": 0}))],
) -> Response:
    """Another worker may begin, after the pause."""
    claim = _measurement(holder, job_id)
    with acting_for(claim.tenant_id):
        measurements.give_back(claim, asked.pause_seconds)
    return Response(status_code=204)


@router.post("/measurements/{job_id}/report", status_code=204)
def end_measurement(
    holder: Caller,
    job_id: JobId,
    asked: Annotated[MeasurementRequest, Depends(JsonBody(MeasurementRequest, {"error": {}}))],
) -> Response:
    """The accuracy with its report, or why there is none."""
    claim = _measurement(holder, job_id)
    if asked.error is not None:
        with acting_for(claim.tenant_id):
            return _done(measurements.fail(claim, from_json(JobError, asked.error)))
    if asked.accuracy is None or asked.receipt is None:
        raise InvalidBody("There is no report.", FieldProblem("", "neither accuracy and receipt nor error"))
    report = received(asked.receipt, subject(claim))
    try:
        with acting_for(claim.tenant_id):
            row = report.row(claim.tenant_id, claim.job_id)
            return _done(measurements.finish(claim, from_json(Accuracy, asked.accuracy), row))
    finally:
        forget([report.id])  # only if no row came to own it


def _inspection(holder: Holder, teacher_id: str) -> InspectionClaim:
    claim = held_inspection(holder, teacher_id)
    if claim is None:
        raise lost()
    return claim


def _measurement(holder: Holder, job_id: str) -> MeasurementClaim:
    claim = held_measurement(holder, job_id)
    if claim is None:
        raise lost()
    return claim


def _done(holds: bool) -> Response:
    if not holds:
        raise lost()
    return Response(status_code=204)
