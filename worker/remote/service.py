"""The service over HTTP; see `worker.service.Service` for what each method does."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import socket
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from app.jobs.lifecycle import Beat, Claim
from app.jobs.measurements import MeasurementClaim
from app.leases.ends import Ending
from app.leases.files import Between, SourceFile, Sources, StoredFile
from app.leases.records import JobTrace, LeaseLost
from app.models.worker_beat import WorkerReport
from app.platform.settings import Settings
from app.storage import IntegrityError
from app.teachers.inspections import InspectionClaim
from dfad_core import __version__
from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import Accuracy, JobError
from dfad_core.contract.progress import PhaseProgress, Progress
from dfad_core.contract.serialization import JsonObject, JsonValue, from_json, to_json
from worker.remote.connection import CONNECT_SECONDS, BrokenTransfer, Connection
from worker.service import Claimed, ServiceAway

logger = logging.getLogger(__name__)
T = TypeVar("T", Claim, InspectionClaim, MeasurementClaim)

WAIT_SECONDS = 20
"""Of one long poll: a proxy in between closes connections that are silent for longer than half a minute."""
SECRETS_KEPT = 64
LEAST_READ_SECONDS = 1.0
FRUITLESS_TRIES = 3
"""After which a file that always breaks off at the same byte counts as damaged."""


@dataclass(frozen=True)
class _Terms:
    """What the server says of its leases."""

    lease_seconds: float = 60.0
    heartbeat_seconds: float = 10.0
    self_fence_seconds: float = 40.0
    max_attempts: int = 3
    version: str = ""
    workers: tuple[WorkerReport, ...] = ()


class RemoteService:
    """See `worker.service.Service`."""

    def __init__(self, settings: Settings) -> None:
        """Raises ValueError for proxies or certificates that cannot be used."""
        assert settings.server is not None
        assert settings.api_key is not None
        host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:40]
        self.name = f"{host}:{os.getpid()}"
        """Of this worker, beside which every claim has a secret."""
        self._connection = Connection(settings.server, settings.api_key.get_secret_value(), self.name)
        self._own = _secret()
        self._terms = _Terms()
        self._lock = threading.Lock()
        #: Secrets of claims by their owner, as the server calls it.
        self._secrets: OrderedDict[str, str] = OrderedDict()
        #: Secrets of claims whose answer has not come, by kind: asked again, the server finds them.
        self._asked: dict[str, str] = {}
        #: What was sent last and had no answer.
        self._unsure: object = None

    @property
    def lease_seconds(self) -> float:
        """See Service."""
        return self._terms.lease_seconds

    @property
    def heartbeat_seconds(self) -> float:
        """See Service."""
        return self._terms.heartbeat_seconds

    @property
    def self_fence_seconds(self) -> float:
        """See Service."""
        return self._terms.self_fence_seconds

    @property
    def max_attempts(self) -> int:
        """See Service."""
        return self._terms.max_attempts

    def close(self) -> None:
        """Close all connections."""
        self._connection.close()

    # What to claim

    def wait_for_job(self, devices: Sequence[str]) -> bool:
        """Whether a job waits for a worker like this one, within WAIT_SECONDS."""
        return self._due("jobs", devices)

    def _due(self, kind: str, devices: Sequence[str] = ()) -> bool:
        params = [("kind", kind), *(("device", device) for device in devices)]
        headers = {"Prefer": f"wait={WAIT_SECONDS}"}
        answer = self._connection.call("GET", "/leases/due", headers, params=params)
        return bool(answer["due"])

    def _claimed(self, kind: str, body: object = None) -> JsonObject | None:
        """A claim as the server tells it; asked for again with the same secret while no answer comes."""
        with self._lock:
            secret = self._asked.setdefault(kind, _secret())
        try:
            claim = self._connection.call("POST", f"/leases/{kind}", {"DFAD-Lease": secret}, body=body)
        except ServiceAway:
            raise
        except BaseException:
            self._asked.pop(kind, None)
            raise
        with self._lock:
            del self._asked[kind]
        if claim is not None:
            self._keep(str(claim["owner"]), secret)
        return None if claim is None else dict(claim)

    def keep_secret(self, claim: Claimed, secret: str) -> None:
        """Show this secret in all calls about the claim."""
        self._keep(claim.owner, secret)

    def _keep(self, owner: str, secret: str) -> None:
        with self._lock:
            self._secrets[owner] = secret
            while len(self._secrets) > SECRETS_KEPT:
                self._secrets.popitem(last=False)

    def claim_job(self, devices: Sequence[str], *, gpu: bool) -> Claim | None:
        """See Service."""
        claim = self._claimed("jobs", {"devices": list(devices), "gpu": gpu})
        return None if claim is None else _made(Claim, claim)

    def claim_inspection(self) -> InspectionClaim | None:
        """See BesideService."""
        claim = self._claimed("inspections") if self._due("inspections") else None
        return None if claim is None else _made(InspectionClaim, claim)

    def claim_measurement(self) -> MeasurementClaim | None:
        """See BesideService."""
        claim = self._claimed("measurements") if self._due("measurements") else None
        return None if claim is None else _made(MeasurementClaim, claim)

    # Calls about what is claimed

    def _call(self, method: str, claim: Claimed, path: str = "", body: object = None, **more: Any) -> Any:
        return self._connection.call(
            method, f"{_place(claim)}{path}", self._headers(claim), body=body, **more
        )

    def _headers(self, claim: Claimed) -> dict[str, str]:
        headers = {"DFAD-Lease": self._secrets[claim.owner]}
        return {**headers, "DFAD-Fence": str(claim.fence)} if isinstance(claim, Claim) else headers

    def _heartbeat(self, method: str, claim: Claim, path: str) -> Beat:
        # One that takes longer would hold up the next, and the fence.
        patience = max(LEAST_READ_SECONDS, self.heartbeat_seconds)
        try:
            return from_json(Beat, self._call(method, claim, path, read_seconds=patience))
        except LeaseLost:
            return Beat(alive=False)

    def renew(self, claim: Claim) -> Beat:
        """See AttemptService."""
        return self._heartbeat("POST", claim, "/renewal")

    def look(self, claim: Claim) -> Beat:
        """See AttemptService."""
        return self._heartbeat("GET", claim, "")

    def job_trace(self, claim: Claim) -> JobTrace:
        """See AttemptService: spans of its past are left out where the server is away."""
        try:
            about = self._call("GET", claim, "/trace")
        except ServiceAway:
            return JobTrace()
        queued = about["queued_at"]
        return JobTrace(about["traceparent"], None if queued is None else datetime.fromisoformat(queued))

    def _record(self, claim: Claim, kind: str, data: Mapping[str, JsonValue]) -> None:
        body = {"kind": kind, "data": dict(data)}
        known = (claim.owner, body)
        headers = self._headers(claim)
        if self._unsure == known:
            headers["DFAD-Retry"] = "true"
        self._unsure = known
        self._connection.call("POST", f"{_place(claim)}/records", headers, body=body)
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
        self._call("POST", claim, "/artifacts", {"receipt": file.receipt})

    def keep_student(self, claim: Claim, file: StoredFile, details: JsonObject) -> None:
        """See AttemptService."""
        self._call("POST", claim, "/artifacts", {"receipt": file.receipt, "student": details})

    def end(self, claim: Claim, ending: Ending, files: Sequence[StoredFile] = ()) -> str:
        """See AttemptService."""
        body = {**to_json(ending), "receipts": [file.receipt for file in files]}
        try:
            return str(self._call("POST", claim, "/end", body)["ended"])
        except LeaseLost:
            self.forget(claim, files)
            return "stale"

    # Files

    def sources(self, claim: Claimed) -> Sources:
        """See FileService."""
        about = self._call("GET", claim, "/files")
        files = tuple(from_json(SourceFile, file) for file in about["files"])
        return Sources(dict(about["teacher_spec"]), files, tuple(about["history"]))

    def fetch(self, claim: Claimed, file: SourceFile, target: Path, between: Between) -> None:
        """See FileService. What has come of it stays where a transfer breaks off, and is gone on with."""
        fruitless = 0
        while (have := target.stat().st_size if target.exists() else 0) < file.bytes:
            try:
                self._fetch_rest(claim, file, target, have, between)
            except BrokenTransfer:
                fruitless = 0 if target.stat().st_size > have else fruitless + 1
                if fruitless >= FRUITLESS_TRIES:
                    break
        target.touch()
        if _digest(target) != file.sha256:
            target.unlink()
            raise IntegrityError(f"{file.id} is not what was stored")

    def _fetch_rest(
        self, claim: Claimed, file: SourceFile, target: Path, have: int, between: Between
    ) -> None:
        path = f"{_place(claim)}/files/{file.id}"
        with self._connection.reading(path, self._headers(claim), have) as pieces, target.open("ab") as out:
            for piece in pieces:
                out.write(piece)
                between()

    def store(self, claim: Claimed, role: str, kind: str, step: int | None, payload: bytes) -> StoredFile:
        """See FileService."""
        params: dict[str, Any] = {"role": role, "file": kind, **({} if step is None else {"step": step})}
        path = f"{_place(claim)}/files"
        try:
            about = self._connection.send(path, self._headers(claim), payload, params)
        except LeaseLost:
            if isinstance(claim, Claim):
                raise
            raise ServiceAway("the claim is lost") from None
        return from_json(StoredFile, about)

    def forget(self, claim: Claimed, files: Sequence[StoredFile]) -> None:
        """See FileService: what cannot be told now is swept."""
        if not files:
            return
        body = {"receipts": [file.receipt for file in files]}
        try:
            self._call("POST", claim, "/discarded", body)
        except (ServiceAway, LeaseLost, OSError) as error:
            logger.warning("bytes on the server are left to its sweeper (%s)", type(error).__name__)

    # Beside the job

    def renew_inspection(self, claim: InspectionClaim) -> bool:
        """See BesideService."""
        return self._holds("POST", claim, "/renewal")

    def give_back_inspection(self, claim: InspectionClaim) -> None:
        """See BesideService."""
        self._holds("DELETE", claim, "")

    def record_inspection(self, claim: InspectionClaim, found: Inspection | JobError) -> str:
        """See BesideService."""
        kind = "error" if isinstance(found, JobError) else "inspection"
        if not self._holds("POST", claim, "/report", {kind: to_json(found)}):
            return "stale"
        return "rejected" if kind == "error" else "ready"

    def renew_measurement(self, claim: MeasurementClaim) -> bool:
        """See BesideService."""
        return self._holds("POST", claim, "/renewal")

    def give_back_measurement(self, claim: MeasurementClaim, pause_seconds: float = 0.0) -> None:
        """See BesideService."""
        self._holds("POST", claim, "/return", {"pause_seconds": pause_seconds})

    def finish_measurement(self, claim: MeasurementClaim, accuracy: Accuracy, report: StoredFile) -> bool:
        """See BesideService."""
        body = {"accuracy": to_json(accuracy), "receipt": report.receipt}
        return self._holds("POST", claim, "/report", body)

    def fail_measurement(self, claim: MeasurementClaim, error: JobError) -> bool:
        """See BesideService."""
        return self._holds("POST", claim, "/report", {"error": to_json(error)})

    def _holds(self, method: str, claim: Claimed, path: str, body: object = None) -> bool:
        """Whether the claim still held."""
        try:
            self._call(method, claim, path, body)
        except LeaseLost:
            return False
        return True

    def sign_of_life(self, report: WorkerReport) -> None:
        """See BesideService; the answer has the times of leases."""
        headers, before = {"DFAD-Lease": self._own}, self._terms.version
        body = {"report": to_json(report)}
        self._terms = from_json(_Terms, self._connection.call("PUT", "/leases/worker", headers, body=body))
        if self._terms.version not in (before, __version__):
            logger.warning("the server has version %s, this worker %s", self._terms.version, __version__)

    def leave(self) -> None:
        """See BesideService."""
        headers = {"DFAD-Lease": self._own}
        self._connection.call("DELETE", "/leases/worker", headers, read_seconds=CONNECT_SECONDS)

    def worker_reports(self) -> list[WorkerReport]:
        """See BesideService: of this machine, as of the last sign of life."""
        return list(self._terms.workers)


def _secret() -> str:
    return secrets.token_urlsafe(32)


def _place(claim: Claimed) -> str:
    """The address of what is claimed."""
    if isinstance(claim, InspectionClaim):
        return f"/leases/inspections/{claim.teacher_id}"
    kind = "jobs" if isinstance(claim, Claim) else "measurements"
    return f"/leases/{kind}/{claim.job_id}"


def _made(cls: type[T], data: Mapping[str, Any]) -> T:
    """A claim of the fields that it knows."""
    return cls(**{name: data[name] for name in cls.__dataclass_fields__ if name in data})


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
