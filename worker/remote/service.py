"""The service over HTTP; see `worker.service.Service` for what each method does."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from app.jobs.lifecycle import Beat, Claim
from app.jobs.measurements import MeasurementClaim
from app.leases.ends import Ending
from app.leases.files import Between, Claimed, SourceFile, Sources, StoredFile
from app.leases.records import JobTrace, LeaseLost
from app.platform.settings import Settings
from app.storage import IntegrityError
from app.teachers.inspections import InspectionClaim
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import Accuracy, JobError
from dfad_core.contract.progress import PhaseProgress, Progress
from dfad_core.contract.serialization import JsonObject, JsonValue, from_json, to_json
from worker.remote.calls import RemoteCalls, place
from worker.remote.connection import BrokenTransfer
from worker.service import ServiceAway

logger = logging.getLogger(__name__)
T = TypeVar("T", Claim, InspectionClaim, MeasurementClaim)


class RemoteService(RemoteCalls):
    """See `worker.service.Service`."""

    def __init__(self, settings: Settings) -> None:
        """Raises ValueError for proxies or certificates that cannot be used."""
        super().__init__(settings)
        #: What was told last and had no answer.
        self._unsure: object = None

    def claim_job(self, devices: Sequence[str], *, gpu: bool) -> Claim | None:
        """See Service."""
        claim = self.claimed("jobs", {"devices": list(devices), "gpu": gpu})
        return None if claim is None else _made(Claim, claim)

    def claim_inspection(self) -> InspectionClaim | None:
        """See BesideService."""
        claim = self.claimed("inspections") if self.due("inspections") else None
        return None if claim is None else _made(InspectionClaim, claim)

    def claim_measurement(self) -> MeasurementClaim | None:
        """See BesideService."""
        claim = self.claimed("measurements") if self.due("measurements") else None
        return None if claim is None else _made(MeasurementClaim, claim)

    def renew(self, claim: Claim) -> Beat:
        """See AttemptService."""
        return self.heartbeat("POST", claim, "/renewal")

    def look(self, claim: Claim) -> Beat:
        """See AttemptService."""
        return self.heartbeat("GET", claim, "")

    def job_trace(self, claim: Claim) -> JobTrace:
        """See AttemptService: spans of its past are left out where the server is away."""
        try:
            about = self.call("GET", claim, "/trace")
        except ServiceAway:
            return JobTrace()
        queued = about["queued_at"]
        return JobTrace(about["traceparent"], None if queued is None else datetime.fromisoformat(queued))

    def _record(self, claim: Claim, kind: str, data: Mapping[str, JsonValue]) -> None:
        body = {"kind": kind, "data": dict(data)}
        known = (claim.owner, body)
        headers = self.headers(claim)
        if self._unsure == known:
            headers["DFAD-Retry"] = "true"
        self._unsure = known
        self.connection.call("POST", f"{place(claim)}/records", headers, body=body)
        self._unsure = None

    def record_progress(self, claim: Claim, progress: Progress) -> None:
        """See AttemptService."""
        self._record(claim, "progress", to_json(progress))

    def record_phase(self, claim: Claim, phase: str) -> None:
        """See AttemptService."""
        self._record(claim, "phase", {"phase": phase})

    def record_phase_progress(self, claim: Claim, progress: PhaseProgress) -> None:
        """See AttemptService."""
        self._record(claim, "phase_progress", to_json(progress))

    def record_event(
        self, claim: Claim, kind: Literal["note", "warning"], data: Mapping[str, JsonValue]
    ) -> None:
        """See AttemptService."""
        self._record(claim, kind, data)

    def record_teacher(self, claim: Claim, found: Inspection | JobError) -> None:
        """See AttemptService."""
        kind = "rejection" if isinstance(found, JobError) else "inspection"
        self._record(claim, kind, to_json(found))

    def publish_file(self, claim: Claim, file: StoredFile) -> None:
        """See AttemptService."""
        self.call("POST", claim, "/artifacts", {"receipt": file.receipt})

    def keep_student(self, claim: Claim, file: StoredFile, details: JsonObject) -> None:
        """See AttemptService."""
        self.call("POST", claim, "/artifacts", {"receipt": file.receipt, "student": details})

    def end(self, claim: Claim, ending: Ending, files: Sequence[StoredFile] = ()) -> str:
        """See AttemptService."""
        body = {**to_json(ending), "receipts": [file.receipt for file in files]}
        try:
            return str(self.call("POST", claim, "/end", body)["ended"])
        except LeaseLost:
            self.forget(claim, files)
            return "stale"

    # Files

    def sources(self, claim: Claimed) -> Sources:
        """See FileService."""
        about = self.call("GET", claim, "/files")
        files = tuple(from_json(SourceFile, file) for file in about["files"])
        return Sources(dict(about["teacher_spec"]), files, tuple(about["history"]))

    def fetch(self, claim: Claimed, file: SourceFile, target: Path, between: Between) -> None:
        """See FileService. What has come of it stays where a transfer breaks off, and is gone on with."""
        while (have := target.stat().st_size if target.exists() else 0) < file.bytes:
            try:
                self._fetch_rest(claim, file, target, have, between)
            except BrokenTransfer:
                if target.stat().st_size == have:
                    raise
        target.touch()
        if _digest(target) != file.sha256:
            target.unlink()
            raise IntegrityError(f"{file.id} is not what was stored")

    def _fetch_rest(
        self, claim: Claimed, file: SourceFile, target: Path, have: int, between: Between
    ) -> None:
        path = f"{place(claim)}/files/{file.id}"
        with self.connection.reading(path, self.headers(claim), have) as pieces, target.open("ab") as out:
            for piece in pieces:
                out.write(piece)
                between()

    def store(self, claim: Claimed, role: str, kind: str, step: int | None, payload: bytes) -> StoredFile:
        """See FileService."""
        params: dict[str, Any] = {"role": role, "file": kind, **({} if step is None else {"step": step})}
        path = f"{place(claim)}/files"
        about = self.connection.send(path, self.headers(claim), payload, params)
        return from_json(StoredFile, about)

    def forget(self, claim: Claimed, files: Sequence[StoredFile]) -> None:
        """See FileService: what cannot be told now is swept."""
        if not files:
            return
        body = {"receipts": [file.receipt for file in files]}
        try:
            self.call("POST", claim, "/discarded", body)
        except (ServiceAway, LeaseLost, OSError) as error:
            logger.warning("bytes on the server are left to its sweeper (%s)", type(error).__name__)

    # Beside the job

    def renew_inspection(self, claim: InspectionClaim) -> bool:
        """See BesideService."""
        return self.holds("POST", claim, "/renewal")

    def give_back_inspection(self, claim: InspectionClaim) -> None:
        """See BesideService."""
        self.holds("DELETE", claim, "")

    def record_inspection(self, claim: InspectionClaim, found: Inspection | JobError) -> str:
        """See BesideService."""
        kind = "error" if isinstance(found, JobError) else "inspection"
        if not self.holds("POST", claim, "/report", {kind: to_json(found)}):
            return "stale"
        return "rejected" if kind == "error" else "ready"

    def renew_measurement(self, claim: MeasurementClaim) -> bool:
        """See BesideService."""
        return self.holds("POST", claim, "/renewal")

    def give_back_measurement(self, claim: MeasurementClaim, pause_seconds: float = 0.0) -> None:
        """See BesideService."""
        self.holds("POST", claim, "/return", {"pause_seconds": pause_seconds})

    def finish_measurement(self, claim: MeasurementClaim, accuracy: Accuracy, report: StoredFile) -> bool:
        """See BesideService."""
        body = {"accuracy": to_json(accuracy), "receipt": report.receipt}
        return self.holds("POST", claim, "/report", body)

    def fail_measurement(self, claim: MeasurementClaim, error: JobError) -> bool:
        """See BesideService."""
        return self.holds("POST", claim, "/report", {"error": to_json(error)})


def _made(cls: type[T], data: Mapping[str, Any]) -> T:
    """A claim of the fields that it knows."""
    return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
