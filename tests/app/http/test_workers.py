"""Which workers the service tells of, and for whom no worker is there."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

OPERATOR = {"Authorization": "Bearer the-operators"}


def seen(name: str, seconds_ago: float, **about: Any) -> None:
    """A worker and its last sign of life."""
    from app.models import WorkerBeat
    from app.models.clock import steady_now
    from app.platform.db import session_scope

    report = {"host": name, "pid": 7, "devices": ["cpu"], "takes": ["auto", "cpu"], "version": "1.2"} | about
    with session_scope() as session:
        at = steady_now(session) - timedelta(seconds=seconds_ago)
        session.merge(WorkerBeat(id=name, seen_at=at, details=report))


def test_a_worker_that_misses_two_signs_is_silent(client: TestClient) -> None:
    """At the lease of 60 s a worker gives a sign every 10 s."""
    for name, seconds_ago in (("well", 0), ("late", 12), ("killed", 40), ("long gone", 7200)):
        seen(name, seconds_ago)
    workers = client.get("/capabilities").json()["workers"]
    assert [(w["name"], w["alive"]) for w in workers] == [
        ("late:7", True), ("well:7", True), ("killed:7", False),
    ]  # fmt: skip
    assert 40 <= workers[-1]["seen_seconds_ago"] < 100
    assert workers[0]["version"] == "1.2"


def test_no_living_worker_is_not_ready(client: TestClient) -> None:
    seen("killed", 40)
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["checks"]["worker"]) == (503, "none is alive")
    assert client.get("/capabilities").json()["devices"] == []


def test_a_queued_job_that_no_living_worker_takes(client: TestClient, submit: Callable[..., Any]) -> None:
    submit({"device": "cuda"})
    submit({"device": "cpu"})
    submit()

    def waiting() -> Any:
        return client.get("/capabilities").json()["waiting_without_worker"]

    assert waiting() == {"auto": 1, "cpu": 1, "cuda": 1}
    seen("small", 0)
    assert waiting() == {"cuda": 1}
    seen("gpu", 0, devices=["cuda"], takes=["cuda"])
    assert waiting() == {}
    seen("gpu", 40, devices=["cuda"], takes=["cuda"])
    assert waiting() == {"cuda": 1}


@pytest.fixture
def tenant(monkeypatch: pytest.MonkeyPatch, database: str, request: pytest.FixtureRequest) -> Any:
    """The client, and the headers of a tenant beside the operator."""
    monkeypatch.setenv("DFAD_API_KEY", "the-operators")
    client = request.getfixturevalue("client")
    asked = {"name": "k", "tenant_id": "acme", "scopes": ["admin"]}
    key = client.post("/keys", json=asked, headers=OPERATOR).json()["key"]
    return client, {"Authorization": f"Bearer {key}"}


def test_a_tenant_learns_neither_hosts_nor_of_jobs_of_others(tenant: Any, submit: Callable[..., Any]) -> None:
    client, theirs = tenant
    seen("gpu-1.internal", 0)
    submit({"device": "cuda"}, headers=OPERATOR)
    found = client.get("/capabilities", headers=theirs)
    assert "internal" not in found.text
    (worker,) = found.json()["workers"]
    assert (worker["name"], worker["version"], worker["alive"]) == (None, None, True)
    assert found.json()["waiting_without_worker"] == {}
    submit({"device": "cuda"}, headers=theirs)
    assert client.get("/capabilities", headers=theirs).json()["waiting_without_worker"] == {"cuda": 1}
    assert client.get("/capabilities", headers=OPERATOR).json()["waiting_without_worker"] == {"cuda": 2}
