"""A server with the operator's key and some workers, all in this process."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

OPERATOR = {"Authorization": "Bearer the-operators-own"}


class Worker:
    """One key with one secret, as a worker shows them."""

    def __init__(self, client: TestClient, key: str, letter: str = "s") -> None:
        self._client = client
        self.headers = {
            "Authorization": f"Bearer {key}",
            "DFAD-Worker": "gpu-1:7",
            "DFAD-Lease": letter * 43,
        }

    def with_secret(self, letter: str) -> Worker:
        """The same key with the secret of another claim."""
        return Worker(self._client, self.headers["Authorization"].partition(" ")[2], letter)

    def ask(self, method: str, path: str, fence: int | None = None, **more: Any) -> Any:
        """The answer."""
        headers = self.headers | ({} if fence is None else {"DFAD-Fence": str(fence)})
        headers |= more.pop("headers", {})
        return self._client.request(method, f"/leases{path}", headers=headers, **more)

    def claim(self, *devices: str) -> Any:
        """The claim of a job, or None."""
        answer = self.ask("POST", "/jobs", json={"devices": list(devices or ("auto", "cpu"))})
        assert answer.status_code in (200, 204), answer.text
        return answer.json() if answer.status_code == 200 else None

    def bring(self, claim: Any, content: bytes, **about: Any) -> Any:
        """The answer to bytes of an artifact."""
        digest = base64.b64encode(hashlib.sha256(about.pop("named", content)).digest()).decode()
        headers = {"Content-Type": "application/octet-stream", "Content-Digest": f"sha-256=:{digest}:"}
        params = {"role": "artifact", "file": "report"} | about
        path = f"/jobs/{claim['job_id']}/files"
        return self.ask("PUT", path, claim["fence"], content=content, params=params, headers=headers)


@pytest.fixture
def client(each_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client of the service, on SQLite and on PostgreSQL."""
    monkeypatch.setenv("DFAD_API_KEY", "the-operators-own")
    from app.main import create_app

    with TestClient(create_app(), raise_server_exceptions=False) as made:
        yield made


@pytest.fixture
def key(client: TestClient) -> Any:
    """Makes a key as the operator."""

    def make(*scopes: str, **asked: Any) -> str:
        answer = client.post("/keys", json={"name": "w", "scopes": scopes, **asked}, headers=OPERATOR)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["key"])

    return make


@pytest.fixture
def worker(client: TestClient, key: Any) -> Worker:
    """Of all tenants and devices."""
    return Worker(client, key("worker"))
