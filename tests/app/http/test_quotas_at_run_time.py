"""`/quotas`: set while the service runs, by the operator alone."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

OPERATOR = {"Authorization": "Bearer operators-own-key"}
NONE = {"queued_jobs": None, "running_jobs": None, "stored_bytes": None, "requests_per_minute": None}
CONFIGURED = {
    "*": {"queued_jobs": 100, "stored_bytes": 1000},
    "vision": {"running_jobs": 2, "stored_bytes": None},
}


@pytest.fixture
def service(each_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    from app.main import create_app

    monkeypatch.setenv("DFAD_API_KEY", "operators-own-key")
    monkeypatch.setenv("DFAD_QUOTAS", json.dumps(CONFIGURED))
    with TestClient(create_app(), raise_server_exceptions=False) as client:
        client.headers.update(OPERATOR)
        yield client


@pytest.fixture
def put(service: TestClient) -> Callable[..., dict[str, Any]]:
    def put(tenant: str, **limits: int | None) -> dict[str, Any]:
        answer = service.put(f"/quotas/{tenant}", json=limits)
        assert answer.status_code == 200, answer.text
        view: dict[str, Any] = answer.json()
        return view

    return put


def submit(client: TestClient) -> Any:
    files = {
        "teacher": ("t.pt", b"PK\x03\x04weights"),
        "spec": (None, json.dumps({"student": {"architecture": "mlp8"}})),
    }
    return client.post("/jobs", files=files)


def test_each_limit_comes_from_the_first_place_that_sets_it(service: TestClient, put: Any) -> None:
    def holds(tenant: str) -> dict[str, Any]:
        found: dict[str, Any] = service.get(f"/quotas/{tenant}").json()["holds"]
        return found

    assert holds("other") == NONE | CONFIGURED["*"]
    assert holds("vision") == NONE | {"queued_jobs": 100, "running_jobs": 2}  # null there lifts everybody's
    put("*", queued_jobs=50, running_jobs=7, requests_per_minute=600)
    assert holds("other") == {
        "queued_jobs": 50, "running_jobs": 7, "stored_bytes": 1000, "requests_per_minute": 600,
    }  # fmt: skip
    # The tenant's own entry of the settings goes before everybody's row.
    assert holds("vision") == NONE | {"queued_jobs": 50, "running_jobs": 2, "requests_per_minute": 600}
    put("vision", running_jobs=9, stored_bytes=5)
    assert holds("vision") == {
        "queued_jobs": 50, "running_jobs": 9, "stored_bytes": 5, "requests_per_minute": 600,
    }  # fmt: skip
    put("vision", queued_jobs=1)  # in the place of all that was put before
    assert holds("vision") == NONE | {"queued_jobs": 1, "running_jobs": 2, "requests_per_minute": 600}
    for tenant in ("vision", "*", "*"):
        assert service.delete(f"/quotas/{tenant}").status_code == 204
    assert holds("other") == NONE | CONFIGURED["*"]


def test_all_are_listed(service: TestClient, put: Any) -> None:
    view = put("speech", running_jobs=3)
    assert view["stored"] == NONE | {"running_jobs": 3}
    assert view["configured"] is None
    assert view["updated_at"]
    listed = {found["tenant_id"]: found for found in service.get("/quotas").json()["data"]}
    assert list(listed) == ["*", "speech", "vision"]
    assert listed["speech"] == view
    assert listed["vision"]["configured"] == NONE | {"running_jobs": 2}
    assert listed["vision"]["stored"] is listed["vision"]["updated_at"] is None


def test_they_hold_at_once_where_they_were_put(service: TestClient, put: Any) -> None:
    put("local", queued_jobs=1)
    assert submit(service).status_code == 201
    answer = submit(service)
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    put("local", queued_jobs=2)
    assert submit(service).status_code == 201
    put("local", queued_jobs=9, stored_bytes=20)
    files = {"teacher": ("t", b"\x80\x02" + b"x" * 40)}
    assert service.post("/teachers", files=files).status_code == 429
    put("local", requests_per_minute=1)
    answers = [service.get("/jobs") for _ in range(3)]
    assert answers[-1].status_code == 429


def test_refusals_name_quota_limit_use_and_where_it_is_seen(service: TestClient, put: Any) -> None:
    put("local", queued_jobs=1)
    submit(service)
    texts = [submit(service).json()["detail"]]
    put("local", stored_bytes=3)
    texts.append(submit(service).json()["detail"])
    put("local", requests_per_minute=1)
    service.get("/jobs")
    texts.append([service.get("/jobs") for _ in range(2)][-1].json()["detail"])
    wanted = (("queued_jobs", "1 of 1"), ("stored_bytes", "11 of 3"), ("requests_per_minute", "1 of 1"))
    for text, parts in zip(texts, wanted, strict=True):
        for part in (*parts, "`GET /usage`", "`dfad usage`"):
            assert part in text


def test_the_operator_alone(service: TestClient) -> None:
    for scopes in (["read", "write"], ["admin"]):
        body = {"name": "n", "tenant_id": "vision", "scopes": scopes}
        made = service.post("/keys", json=body).json()["key"]
        key = {"Authorization": f"Bearer {made}"}
        for method, path in (("GET", "/quotas"), ("GET", "/quotas/vision"), ("DELETE", "/quotas/vision")):
            answer = service.request(method, path, headers=key)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
        answer = service.put("/quotas/vision", json={"queued_jobs": 10**6}, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert service.get("/quotas/vision").json()["stored"] is None


@pytest.mark.parametrize(
    "body",
    [
        {"queued_jobs": -1}, {"queued_jobs": "1"}, {"queued_jobs": 1.5}, {"running_jobs": True},
        {"stored_bytes": 2**63}, {"requests_per_minute": 0}, {"unknown": 1}, [],
    ],
)  # fmt: skip
def test_bodies_are_held_to_the_letter(service: TestClient, body: Any) -> None:
    assert service.put("/quotas/vision", json=body).status_code == 422
    assert service.get("/quotas/vision").json()["stored"] is None


def test_names_and_numbers_at_their_bounds(service: TestClient, put: Any) -> None:
    put("a" * 64, **dict.fromkeys(NONE, 2**63 - 1))
    assert put("*")["stored"] == NONE
    for wrong in ("Vision", "a" * 65, "**", "a b", "%00"):
        assert service.put(f"/quotas/{wrong}", json={}).status_code in (404, 422)
        assert service.get(f"/quotas/{wrong}").status_code in (404, 422)


def test_no_request_that_only_reads_asks_the_database_for_its_quota(service: TestClient, put: Any) -> None:
    from sqlalchemy import event

    from app.platform.db import get_engine

    put("local", requests_per_minute=10**6)
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(get_engine(), "before_cursor_execute", note)
    for _ in range(5):
        assert service.get("/jobs").status_code == 200
    event.remove(get_engine(), "before_cursor_execute", note)
    assert seen
    assert not [statement for statement in seen if "quotas" in statement]
