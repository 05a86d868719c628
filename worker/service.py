"""What a worker needs of the service: one interface, over the database or over HTTP.

`worker.this_service` has this process's. Every method may raise what is in AWAY, and says with an OSError or
DBAPIError of `app.platform.full` that no space is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Protocol

from sqlalchemy.exc import SQLAlchemyError

from app.jobs.lifecycle import Beat, Claim
from app.jobs.measurements import MeasurementClaim
from app.leases.ends import Ending
from app.leases.files import Between, Claimed, SourceFile, Sources, StoredFile
from app.leases.records import JobTrace
from app.models.worker_beat import WorkerReport
from app.teachers.inspections import InspectionClaim
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import Accuracy, JobError
from dfad_core.contract.progress import PhaseProgress, Progress
from dfad_core.contract.serialization import JsonObject, JsonValue


class ServiceAway(Exception):
    """The server cannot be reached, or cannot answer now; what was asked may be asked again."""


AWAY = (SQLAlchemyError, ServiceAway)
"""Errors of a service that is away. Some of the first kind are faults: who waits for ever looks closer."""


class AttemptService(Protocol):
    """For the supervisor of one attempt. Writes raise `app.leases.records.LeaseLost`."""

    def renew(self, claim: Claim) -> Beat:
        """Renew the lease, unless it is lost."""

    def look(self, claim: Claim) -> Beat:
        """What the user wants of the job; renews nothing."""

    def job_trace(self, claim: Claim) -> JobTrace:
        """Where the attempt belongs in a trace."""

    def record_progress(self, claim: Claim, progress: Progress) -> None:
        """One report of the training loop."""

    def record_phase(self, claim: Claim, phase: str) -> None:
        """A new phase."""

    def record_phase_progress(self, claim: Claim, progress: PhaseProgress) -> None:
        """How far evaluation or export is."""

    def record_event(
        self, claim: Claim, kind: Literal["note", "warning"], data: Mapping[str, JsonValue]
    ) -> None:
        """A note or warning."""

    def record_teacher(self, claim: Claim, found: Inspection | JobError) -> None:
        """What the job's runner found its teacher to be."""

    def publish_file(self, claim: Claim, file: StoredFile) -> None:
        """Show samples or a checkpoint. Again with the same file: nothing happens."""

    def keep_student(self, claim: Claim, file: StoredFile, details: JsonObject) -> None:
        """Put the job's student in the place of an earlier one. Again with the same file: nothing happens."""

    def end(self, claim: Claim, ending: Ending, files: Sequence[StoredFile] = ()) -> str:
        """End the attempt; see `app.leases.ends.end`."""


class FileService(Protocol):
    """For whoever reads and brings files of what it has claimed. Over HTTP all raise LeaseLost."""

    def sources(self, claim: Claimed) -> Sources:
        """What there is to read. Raises NoResultFound where the teacher or the claim is gone."""

    def fetch(self, claim: Claimed, file: SourceFile, target: Path, between: Between) -> None:
        """Write a file's bytes to `target`. Raises IntegrityError when they are not what was stored.

        `between` is called after each part, and what it raises ends the fetching.
        """

    def store(self, claim: Claimed, role: str, kind: str, step: int | None, payload: bytes) -> StoredFile:
        """Keep bytes; see `app.leases.files.described`."""

    def forget(self, claim: Claimed, files: Sequence[StoredFile]) -> None:
        """Delete the bytes that no row owns. Never raises what is in AWAY."""


class BesideService(Protocol):
    """For what a worker does beside its job."""

    def claim_inspection(self) -> InspectionClaim | None:
        """Claim the teacher that has waited the longest; None if none waits."""

    def renew_inspection(self, claim: InspectionClaim) -> bool:
        """False: it is inspected by now, deleted, or another worker's."""

    def give_back_inspection(self, claim: InspectionClaim) -> None:
        """Another worker may begin at once."""

    def record_inspection(self, claim: InspectionClaim, found: Inspection | JobError) -> str:
        """ready or rejected."""

    def claim_measurement(self) -> MeasurementClaim | None:
        """Claim the job that has waited the longest to be measured; None if none waits."""

    def renew_measurement(self, claim: MeasurementClaim) -> bool:
        """False: it is over, its job is deleted, or it is another worker's."""

    def give_back_measurement(self, claim: MeasurementClaim, pause_seconds: float = 0.0) -> None:
        """Another worker may begin, after the pause."""

    def finish_measurement(self, claim: MeasurementClaim, accuracy: Accuracy, report: StoredFile) -> bool:
        """Put the accuracy into the job's result. False if the claim is lost."""

    def fail_measurement(self, claim: MeasurementClaim, error: JobError) -> bool:
        """Say why there is no accuracy. False if the claim is lost."""

    def sign_of_life(self, report: WorkerReport) -> None:
        """This worker lives, and what it is."""

    def leave(self) -> None:
        """This worker ends."""

    def worker_reports(self) -> list[WorkerReport]:
        """What the living workers say of themselves; of those of this machine at least."""


class Service(AttemptService, FileService, BesideService, Protocol):
    """All of it."""

    @property
    def lease_seconds(self) -> float:
        """After which the work of a lost worker goes on elsewhere."""

    @property
    def heartbeat_seconds(self) -> float:
        """Between two renewals of a lease; see `app.platform.setting_groups.Jobs`."""

    @property
    def self_fence_seconds(self) -> float:
        """Without a renewal after which a supervisor stops its runner by itself."""

    @property
    def max_attempts(self) -> int:
        """How often a process may die over the same work."""

    def claim_job(self, devices: Sequence[str], *, gpu: bool) -> Claim | None:
        """Claim the job whose turn it is; see `app.jobs.queue.claim_next`."""
