"""The operator acts for a tenant, or looks at all of them; nobody else does."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.app.http.conftest import SPEC

OPERATOR = {"Authorization": "Bearer the-operators"}
ALL = OPERATOR | {"DFAD-Tenant": "*"}
QUOTAS = {"vision": {"queued_jobs": 1}, "audio": {"requests_per_minute": 1}}


@pytest.fixture
def client(home: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A server with the operator's key."""
    monkeypatch.setenv("DFAD_API_KEY", "the-operators")
    monkeypatch.setenv("DFAD_QUOTAS", json.dumps(QUOTAS))
    from app.main import create_app
    from app.platform.settings import get_settings

    get_settings.cache_clear()
    with TestClient(create_app(), raise_server_exceptions=False) as test_client:
        yield test_client


def named(tenant: str) -> dict[str, str]:
    """Headers of the operator who acts for it."""
    return OPERATOR | {"DFAD-Tenant": tenant}


@pytest.fixture
def key(client: TestClient) -> Callable[..., dict[str, str]]:
    """Makes a key of a tenant; the headers with it."""

    def make(tenant: str, scopes: tuple[str, ...] = ("admin",)) -> dict[str, str]:
        asked = {"name": "k", "tenant_id": tenant, "scopes": list(scopes)}
        made = client.post("/keys", json=asked, headers=OPERATOR).json()
        return {"Authorization": f"Bearer {made['key']}"}

    return make


def submit(client: TestClient, headers: dict[str, str], seed: int = 0) -> Any:
    files = {
        "teacher": ("t.pt", b"PK\x03\x04weights"),
        "spec": (None, json.dumps({**SPEC, "seed": seed}), "application/json"),
    }
    return client.post("/jobs", files=files, headers=headers)


def test_acting_for_a_tenant(client: TestClient, key: Any, finished: Callable[..., None]) -> None:
    vision = key("vision")
    job = submit(client, named("vision"), 1).json()
    assert job["tenant_id"] == "vision"
    own = submit(client, OPERATOR).json()
    assert own["tenant_id"] == "local"
    assert client.get(f"/jobs/{job['id']}", headers=OPERATOR).status_code == 404
    for path in ("/jobs", f"/jobs/{job['id']}", "/teachers", f"/jobs/{job['id']}/events", "/keys"):
        assert client.get(path, headers=named("vision")).json() == client.get(path, headers=vision).json()
    # The tenant's quota holds for the operator as well, and its own jobs do not count.
    refused = submit(client, named("vision"), 2)
    assert (refused.status_code, refused.json()["code"]) == (429, "quota_exceeded")
    assert client.post(f"/jobs/{job['id']}/cancel", headers=named("vision")).status_code == 200
    assert client.get(f"/jobs/{job['id']}", headers=vision).json()["status"] == "cancelled"
    assert client.delete(f"/jobs/{own['id']}", headers=named("vision")).status_code == 404


def test_idempotency_keys_and_rates_are_the_tenants(client: TestClient, key: Any) -> None:
    vision, once = key("vision"), {"Idempotency-Key": "same"}
    first = submit(client, vision | once).json()
    assert submit(client, named("vision") | once).json()["id"] == first["id"]
    assert submit(client, OPERATOR | once).json()["id"] != first["id"]
    assert client.get("/jobs", headers=named("audio")).status_code == 200
    assert client.get("/jobs", headers=named("audio")).status_code == 429
    assert client.get("/jobs", headers=OPERATOR).status_code == 200


def test_looking_at_all_tenants(client: TestClient, key: Any, finished: Callable[..., None]) -> None:
    upload = {"filename": "f", "bytes": 4, "sha256": "0" * 64}
    hook = {"url": "https://hooks.example.com/"}
    jobs, made = {}, {}
    for tenant in ("vision", "nlp"):
        headers = key(tenant)
        jobs[tenant] = submit(client, headers).json()["id"]
        made[tenant] = (
            client.post("/uploads", json=upload, headers=headers).json()["id"],
            client.post("/webhooks", json=hook, headers=headers).json()["id"],
        )
    finished(jobs["nlp"])
    for path in ("/jobs", "/teachers", "/webhooks", "/keys"):
        found = client.get(path, headers=ALL).json()["data"]
        assert [one["tenant_id"] for one in found] == ["nlp", "vision"], path
    for status, tenant in (("queued", "vision"), ("succeeded", "nlp")):
        (one,) = client.get("/jobs", params={"status": status}, headers=ALL).json()["data"]
        assert (one["id"], one["tenant_id"]) == (jobs[tenant], tenant)
    page = client.get("/jobs", params={"limit": 1}, headers=ALL).json()
    after = {"limit": 1, "after": page["last_id"]}
    assert client.get("/jobs", params=after, headers=ALL).json()["data"][0]["id"] == jobs["vision"]
    for tenant, job_id in jobs.items():
        upload_id, hook_id = made[tenant]
        one = client.get(f"/jobs/{job_id}", headers=ALL).json()
        assert one["tenant_id"] == tenant
        assert client.get(f"/teachers/{one['teacher']['id']}", headers=ALL).json()["tenant_id"] == tenant
        assert client.get(f"/uploads/{upload_id}", headers=ALL).json()["tenant_id"] == tenant
        assert client.get(f"/webhooks/{hook_id}", headers=ALL).json()["tenant_id"] == tenant
        for part in ("events", "metrics", "samples", "artifacts"):
            assert client.get(f"/jobs/{job_id}/{part}", headers=ALL).status_code == 200
    assert client.get(f"/jobs/{jobs['nlp']}/student", headers=ALL).content == b"student bytes"
    streamed = client.get(f"/jobs/{jobs['nlp']}/events", headers=ALL | {"Accept": "text/event-stream"})
    assert "job.succeeded" in streamed.text


def test_nothing_is_changed_for_all_tenants(client: TestClient, key: Any) -> None:
    job = submit(client, key("vision")).json()
    for path, operations in client.get("/openapi.json", headers=OPERATOR).json()["paths"].items():
        address = path.replace("{job_id}", job["id"]).replace("{teacher_id}", job["teacher"]["id"])
        for method in operations.keys() - {"get"}:
            refused = client.request(method, address, headers=ALL)
            assert (refused.status_code, refused.json()["code"]) == (400, "tenant_required"), (method, path)
            assert "DFAD-Tenant" in refused.json()["detail"]
    assert client.get(f"/jobs/{job['id']}", headers=ALL).json()["status"] == "queued"


@pytest.mark.parametrize("name", ["", "Vision", "a b", "../x", "**", "a" * 65, "vision, *", "-x"])
def test_what_is_no_name(client: TestClient, name: str) -> None:
    refused = client.get("/jobs", headers=named(name))
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert refused.json()["errors"][0]["pointer"] == "/DFAD-Tenant"


def test_two_names_are_none(client: TestClient) -> None:
    twice = [*OPERATOR.items(), ("DFAD-Tenant", "vision"), ("DFAD-Tenant", "nlp")]
    assert client.get("/jobs", headers=twice).status_code == 422  # type: ignore[arg-type]


def test_others_name_their_own_tenant_alone(client: TestClient, key: Any) -> None:
    for scopes in (("admin",), ("read", "write"), ("read",)):
        vision = key("vision", scopes)
        assert client.get("/jobs", headers=vision | {"DFAD-Tenant": "vision"}).status_code == 200
        for other in ("local", "nlp", "*", "", "a b"):
            refused = client.get("/jobs", headers=vision | {"DFAD-Tenant": other})
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), other


def test_keys_of_the_named_tenant(client: TestClient, key: Any) -> None:
    key("nlp")
    made = client.post("/keys", json={"name": "k"}, headers=named("vision")).json()
    assert made["tenant_id"] == "vision"
    other = client.post("/keys", json={"name": "k", "tenant_id": "nlp"}, headers=named("vision"))
    assert (other.status_code, other.json()["errors"][0]["pointer"]) == (422, "/tenant_id")
    assert [k["id"] for k in client.get("/keys", headers=named("vision")).json()["data"]] == [made["id"]]
    assert len(client.get("/keys", headers=OPERATOR).json()["data"]) == 2
    assert client.delete(f"/keys/{made['id']}", headers=named("nlp")).status_code == 404
    assert client.delete(f"/keys/{made['id']}", headers=named("vision")).status_code == 204


def test_a_server_without_keys(database: str) -> None:
    """Everybody is the operator there; the first key is made by the same rules, whatever is named."""
    from app.main import create_app

    with TestClient(create_app()) as client:
        asked = {"name": "k", "scopes": ["admin"]}
        named_one = client.post("/keys", json=asked, headers={"DFAD-Tenant": "vision"})
        assert (named_one.status_code, named_one.json()["code"]) == (409, "first_key_must_be_admin")
        first = client.post("/keys", json=asked, headers={"DFAD-Tenant": "local"})
        assert (first.status_code, first.json()["first"]) == (201, True)
        assert client.post("/keys", json=asked, headers={"DFAD-Tenant": "local"}).status_code == 401


def test_log_lines_name_the_tenant_acted_for(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    from app.telemetry.context import ids

    seen: list[Any] = []

    class Note(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(ids().get("tenant_id"))

    logger, note = logging.getLogger("app.telemetry.requests"), Note()
    logger.addHandler(note)
    logger.setLevel(logging.INFO)
    try:
        client.get("/jobs", headers=named("vision"))
        client.get("/jobs", headers=ALL)
    finally:
        logger.removeHandler(note)
        logger.setLevel(logging.NOTSET)
    assert seen == ["vision", "*"]


def test_the_description_has_the_header_once(client: TestClient) -> None:
    schema = client.get("/openapi.json", headers=OPERATOR).json()
    (header,) = schema["components"]["parameters"].values()
    assert (header["name"], header["in"], header["required"]) == ("DFAD-Tenant", "header", False)
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            named_there = {"$ref": "#/components/parameters/Tenant"} in operation.get("parameters", [])
            assert named_there == (path not in ("/healthz", "/readyz")), path
