"""Calls of a server about what a worker has claimed there, and what it says of its leases."""

from __future__ import annotations

import logging
import os
import re
import secrets
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.jobs.lifecycle import Beat, Claim
from app.leases.files import Claimed
from app.leases.records import LeaseLost
from app.models.worker_beat import WorkerReport
from app.platform.settings import Settings
from app.teachers.inspections import InspectionClaim
from dfad_core import __version__
from dfad_core.contract.serialization import JsonObject, from_json, to_json
from worker.remote.connection import CONNECT_SECONDS, Connection
from worker.service import ServiceAway

logger = logging.getLogger(__name__)

WAIT_SECONDS = 20
"""Of one long poll: a proxy in between closes connections that are silent for longer than half a minute."""
LEAST_READ_SECONDS = 1.0
SHORT_READ_SECONDS = 5.0
"""For the answer to a call without a file, at least."""


@dataclass(frozen=True)
class _Terms:
    """What the server says of its leases."""

    lease_seconds: float = 60.0
    heartbeat_seconds: float = 10.0
    self_fence_seconds: float = 40.0
    max_attempts: int = 3
    version: str = ""
    workers: tuple[WorkerReport, ...] = ()


class RemoteCalls:
    """What the server says of leases, and calls about what this worker has claimed there."""

    def __init__(self, settings: Settings) -> None:
        """Raises ValueError for proxies or certificates that cannot be used."""
        assert settings.server is not None
        assert settings.api_key is not None
        host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:40]
        self.name = f"{host}:{os.getpid()}"
        """Of this worker, beside which every claim has a secret."""
        self.connection = Connection(settings.server, settings.api_key.get_secret_value(), self.name)
        self._own = _secret()
        self._terms = _Terms()
        self._lock = threading.Lock()
        #: Of each kind the latest claim's owner, as the server calls it, and its secret.
        self._secrets: dict[str, tuple[str, str]] = {}
        #: Secrets of claims whose answer has not come, by kind: asked again, the server finds them.
        self._asked: dict[str, str] = {}

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
        self.connection.close()

    def wait_for_job(self, devices: Sequence[str]) -> bool:
        """Whether a job waits for a worker like this one, within WAIT_SECONDS."""
        return self.due("jobs", devices)

    def due(self, kind: str, devices: Sequence[str] = ()) -> bool:
        """Whether something of that kind waits, within WAIT_SECONDS."""
        params = [("kind", kind), *(("device", device) for device in devices)]
        headers = {"Prefer": f"wait={WAIT_SECONDS}"}
        answer = self.connection.call("GET", "/leases/due", headers, params=params)
        return bool(answer["due"])

    def claimed(self, kind: str, body: object = None) -> JsonObject | None:
        """A claim as the server tells it; asked for again with the same secret while no answer comes."""
        with self._lock:
            secret = self._asked.setdefault(kind, _secret())
        try:
            claim = self.connection.call("POST", f"/leases/{kind}", {"DFAD-Lease": secret}, body=body)
        except ServiceAway:
            raise
        except BaseException:
            self._asked.pop(kind, None)
            raise
        with self._lock:
            del self._asked[kind]
            if claim is not None:
                self._secrets[kind] = str(claim["owner"]), secret
        return None if claim is None else dict(claim)

    def keep_secret(self, claim: Claimed, secret: str) -> None:
        """Show this secret in all calls about the claim."""
        with self._lock:
            self._secrets[_kind(claim)] = claim.owner, secret

    def call(self, method: str, claim: Claimed, path: str = "", body: object = None, **more: Any) -> Any:
        """A call about a claim, as `Connection.call`."""
        more.setdefault("read_seconds", max(SHORT_READ_SECONDS, self.self_fence_seconds / 2))
        return self.connection.call(method, f"{place(claim)}{path}", self.headers(claim), body=body, **more)

    def headers(self, claim: Claimed) -> dict[str, str]:
        """What shows that the claim is this worker's."""
        with self._lock:
            owner, secret = self._secrets[_kind(claim)]
        assert owner == claim.owner, "a worker has one claim of a kind at a time"
        headers = {"DFAD-Lease": secret}
        return {**headers, "DFAD-Fence": str(claim.fence)} if isinstance(claim, Claim) else headers

    def heartbeat(self, method: str, claim: Claim, path: str) -> Beat:
        """What a heartbeat, or a look between two, learns."""
        # One that takes longer would hold up the next, and the fence.
        patience = max(LEAST_READ_SECONDS, self.heartbeat_seconds)
        try:
            return from_json(Beat, self.call(method, claim, path, read_seconds=patience))
        except LeaseLost:
            return Beat(alive=False)

    def holds(self, method: str, claim: Claimed, path: str, body: object = None) -> bool:
        """Whether the claim still held."""
        try:
            self.call(method, claim, path, body)
        except LeaseLost:
            return False
        return True

    def sign_of_life(self, report: WorkerReport) -> None:
        """See BesideService; the answer has the times of leases."""
        headers, before = {"DFAD-Lease": self._own}, self._terms.version
        body = {"report": to_json(report)}
        self._terms = from_json(_Terms, self.connection.call("PUT", "/leases/worker", headers, body=body))
        if self._terms.version not in (before, __version__):
            logger.warning("the server has version %s, this worker %s", self._terms.version, __version__)

    def leave(self) -> None:
        """See BesideService."""
        headers = {"DFAD-Lease": self._own}
        self.connection.call("DELETE", "/leases/worker", headers, read_seconds=CONNECT_SECONDS)

    def worker_reports(self) -> list[WorkerReport]:
        """See BesideService: of this machine, as of the last sign of life."""
        return list(self._terms.workers)


def _secret() -> str:
    return secrets.token_urlsafe(32)


def place(claim: Claimed) -> str:
    """The address of what is claimed."""
    subject = claim.teacher_id if isinstance(claim, InspectionClaim) else claim.job_id
    return f"/leases/{_kind(claim)}/{subject}"


def _kind(claim: Claimed) -> str:
    if isinstance(claim, InspectionClaim):
        return "inspections"
    return "jobs" if isinstance(claim, Claim) else "measurements"
