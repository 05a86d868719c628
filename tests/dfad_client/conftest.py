"""A server made of rules, in this process: what the client sends can be looked at afterwards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from dfad_client import Client
from dfad_client.aio import client as aio_client
from dfad_client.aio.transport import AsyncTransport
from dfad_client.cli import app
from dfad_client.sync import client as sync_client
from dfad_client.sync.transport import Transport

Answer = httpx2.Response | Exception | Callable[[httpx2.Request], httpx2.Response]

JOB: dict[str, Any] = {
    "id": "job_1",
    "status": "queued",
    "phase": None,
    "attempt": 0,
    "created_at": "2026-01-02T03:04:05Z",
    "progress": {"step": 0, "total_steps": 10, "percent": 0.0, "eta_seconds": None},
    "spec": {"student": {"architecture": "lenet5_half"}},
    "resolved_spec": {},
    "metadata": {},
    "a_field_of_tomorrow": True,
}
BYTES = bytes(range(256)) * 20


class FakeServer:
    """Answers each (method, path) from a list; the last answer is given again and again."""

    def __init__(self) -> None:
        self.rules: dict[tuple[str, str], list[Answer]] = {}
        self.requests: list[httpx2.Request] = []
        self.sleeps: list[float] = []

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Set the answers of one call."""
        self.rules[method, path] = list(answers)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        """The handler of httpx2.MockTransport."""
        request.read()
        self.requests.append(request)
        answers = self.rules[request.method, request.url.path]
        answer = answers[0] if len(answers) == 1 else answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        if callable(answer):
            return answer(request)
        # A response can be read once: hand out copies.
        return httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)

    def sent(self, method: str, path: str) -> list[httpx2.Request]:
        """What arrived for one call."""
        return [r for r in self.requests if (r.method, r.url.path) == (method, path)]


def job(**changes: Any) -> dict[str, Any]:
    """A job as the server tells it."""
    return {**JOB, **changes}


def artifact(content: bytes = BYTES, **changes: Any) -> dict[str, Any]:
    """A student's artifact."""
    digest = hashlib.sha256(content).hexdigest()
    known = {"id": "art_1", "kind": "student", "bytes": len(content), "sha256": digest, "partial": False}
    return {**known, "filename": "student.safetensors", "step": 10, **changes}


def sse(*events: tuple[int, str, dict[str, Any]], comment: bool = True) -> httpx2.Response:
    """A stream of events that ends in good order."""
    text = ": hello\n\n" if comment else ""
    for seq, kind, data in events:
        body = json.dumps({"seq": seq, "type": kind, "created_at": "2026-01-02T03:04:05Z", "data": data})
        text += f"id: {seq}\nevent: {kind}\ndata: {body}\n\n"
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=text.encode())


def problem(status: int, code: str, detail: str = "No.", **headers: str) -> httpx2.Response:
    """A refusal."""
    body = {
        "type": f"urn:dfad:problem:{code}",
        "title": code,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": "req_7",
        "errors": [{"pointer": "/budget/steps", "detail": "must be at least 1"}] if status == 422 else [],
    }
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, json=body, headers={**named, "content-type": "application/problem+json"})


@pytest.fixture
def fake() -> Any:
    """The building blocks above, for test modules that cannot import this file."""

    class Parts:
        pass

    parts = Parts()
    for maker in (job, artifact, sse, problem):
        setattr(parts, maker.__name__, staticmethod(maker))
    parts.BYTES = BYTES  # type: ignore[attr-defined]
    return parts


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeServer:
    """The server behind every client of the test; nobody really sleeps."""
    server = FakeServer()
    for name in ("DFAD_BASE_URL", "DFAD_API_KEY", "DFAD_HOME", "DFAD_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DFAD_CONFIG", str(tmp_path / "no-profiles.toml"))

    def transport(base_url: str, api_key: str | None, **options: Any) -> Transport:
        options["transport"] = httpx2.MockTransport(server)
        return Transport(base_url, api_key, **options, sleep=server.sleeps.append)

    async def sleep(seconds: float) -> None:
        server.sleeps.append(seconds)

    def aio_transport(base_url: str, api_key: str | None, **options: Any) -> AsyncTransport:
        options["transport"] = httpx2.MockTransport(server)
        return AsyncTransport(base_url, api_key, **options, sleep=sleep)

    monkeypatch.setattr(sync_client, "Transport", transport)
    monkeypatch.setattr(aio_client, "AsyncTransport", aio_transport)
    return server


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    """A client of it."""
    with Client("http://dfad.test", "secret") as client:
        yield client


@pytest.fixture
def run(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run `dfad ARGUMENTS` in a folder that holds a teacher."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.pt").write_bytes(b"weights")
    return lambda *arguments, **options: CliRunner().invoke(app, list(arguments), **options)
