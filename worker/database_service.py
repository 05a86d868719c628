"""The service over the database and the store, for a worker that holds both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from sqlalchemy import delete

from app.files.artifacts import blobs
from app.jobs import measurements
from app.jobs.lifecycle import Beat, Claim
from app.jobs.measurements import MeasurementClaim
from app.jobs.queue import claim_next
from app.leases import ends, files, records
from app.leases.ends import Ending
from app.leases.files import Between, Claimed, SourceFile, Sources, StoredFile, ids_of
from app.leases.records import JobTrace
from app.models import WorkerBeat
from app.models.clock import steady_now
from app.models.worker_beat import WorkerReport
from app.platform.db import session_scope
from app.platform.settings import get_settings
from app.teachers import inspections
from app.teachers.inspections import InspectionClaim
from app.workers.seen import live_workers
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import Accuracy, JobError
from dfad_core.contract.progress import PhaseProgress, Progress
from dfad_core.contract.serialization import JsonObject, JsonValue, to_json
from worker.identity import owner


class DatabaseService:
    """See `worker.service.Service`."""

    @property
    def lease_seconds(self) -> float:
        """See Service."""
        return get_settings().lease_seconds

    @property
    def heartbeat_seconds(self) -> float:
        """See Service."""
        return get_settings().heartbeat_seconds

    @property
    def self_fence_seconds(self) -> float:
        """See Service."""
        return get_settings().self_fence_seconds

    @property
    def max_attempts(self) -> int:
        """See Service."""
        return get_settings().max_attempts

    def claim_job(self, devices: Sequence[str], *, gpu: bool) -> Claim | None:
        """See Service."""
        with session_scope() as session:
            return claim_next(session, owner(), devices, gpu=gpu)

    def renew(self, claim: Claim) -> Beat:
        """See AttemptService."""
        return records.renew(claim)

    def look(self, claim: Claim) -> Beat:
        """See AttemptService."""
        return records.look(claim)

    def job_trace(self, claim: Claim) -> JobTrace:
        """See AttemptService."""
        return records.job_trace(claim)

    def record_progress(self, claim: Claim, progress: Progress) -> None:
        """See AttemptService."""
        records.record_progress(claim, progress)

    def record_phase(self, claim: Claim, phase: str) -> None:
        """See AttemptService."""
        records.record_phase(claim, phase)

    def record_phase_progress(self, claim: Claim, progress: PhaseProgress) -> None:
        """See AttemptService."""
        records.record_phase_progress(claim, progress)

    def record_event(
        self, claim: Claim, kind: Literal["note", "warning"], data: Mapping[str, JsonValue]
    ) -> None:
        """See AttemptService."""
        records.record_event(claim, kind, data)

    def record_teacher(self, claim: Claim, found: Inspection | JobError) -> None:
        """See AttemptService."""
        records.record_teacher(claim, found)

    def publish_file(self, claim: Claim, file: StoredFile) -> None:
        """See AttemptService."""
        records.publish_file(claim, file)

    def keep_student(self, claim: Claim, file: StoredFile, details: JsonObject) -> None:
        """See AttemptService."""
        records.keep_student(claim, file, details)

    def end(self, claim: Claim, ending: Ending, files: Sequence[StoredFile] = ()) -> str:
        """See AttemptService."""
        return ends.end(claim, ending, files)

    def sources(self, claim: Claimed) -> Sources:
        """See FileService."""
        if isinstance(claim, InspectionClaim):
            return files.teacher_sources(claim.teacher_id)
        if isinstance(claim, MeasurementClaim):
            return files.measurement_sources(claim)
        return files.job_sources(claim)

    def fetch(self, claim: Claimed, file: SourceFile, target: Path, between: Between) -> None:
        """See FileService."""
        files.fetch(file, target, between)

    def store(self, claim: Claimed, role: str, kind: str, step: int | None, payload: bytes) -> StoredFile:
        """See FileService."""
        return files.store(role, kind, step, payload)

    def forget(self, claim: Claimed, files: Sequence[StoredFile]) -> None:
        """See FileService."""
        blobs.forget(ids_of(files))

    def claim_inspection(self) -> InspectionClaim | None:
        """See BesideService."""
        return inspections.claim_inspection(owner())

    def renew_inspection(self, claim: InspectionClaim) -> bool:
        """See BesideService."""
        return inspections.renew(claim)

    def give_back_inspection(self, claim: InspectionClaim) -> None:
        """See BesideService."""
        inspections.give_back(claim)

    def record_inspection(self, claim: InspectionClaim, found: Inspection | JobError) -> str:
        """See BesideService."""
        return inspections.record_inspection(claim.teacher_id, found)

    def claim_measurement(self) -> MeasurementClaim | None:
        """See BesideService."""
        return measurements.claim_measurement(owner())

    def renew_measurement(self, claim: MeasurementClaim) -> bool:
        """See BesideService."""
        return measurements.renew(claim)

    def give_back_measurement(self, claim: MeasurementClaim, pause_seconds: float = 0.0) -> None:
        """See BesideService."""
        measurements.give_back(claim, pause_seconds)

    def finish_measurement(self, claim: MeasurementClaim, accuracy: Accuracy, report: StoredFile) -> bool:
        """See BesideService."""
        return measurements.finish(claim, accuracy, report.row(claim.tenant_id, claim.job_id))

    def fail_measurement(self, claim: MeasurementClaim, error: JobError) -> bool:
        """See BesideService."""
        return measurements.fail(claim, error)

    def sign_of_life(self, report: WorkerReport) -> None:
        """See BesideService."""
        with session_scope() as session:
            session.merge(WorkerBeat(id=owner(), seen_at=steady_now(session), details=to_json(report)))

    def leave(self) -> None:
        """See BesideService."""
        with session_scope() as session:
            session.execute(delete(WorkerBeat).where(WorkerBeat.id == owner()))

    def worker_reports(self) -> list[WorkerReport]:
        """See BesideService."""
        return [worker.report for worker in live_workers()]
