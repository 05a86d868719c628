"""`GET /usage`: what a tenant has and used, its own alone; all for the operator."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.access.usage import counts
from app.platform.db import session_scope

OPERATOR = {"Authorization": "Bearer operators-own-key"}
Client = Callable[..., Any]


@pytest.fixture
def service(each_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    from app.main import create_app

    monkeypatch.setenv("DFAD_API_KEY", "operators-own-key")
    monkeypatch.setenv("DFAD_QUOTAS", json.dumps({"*": {"queued_jobs": 5}, "vision": {"running_jobs": 2}}))
    with TestClient(create_app(), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def key(service: TestClient) -> Callable[..., dict[str, str]]:
    """Makes a tenant's key."""

    def make(tenant: str, *scopes: str) -> dict[str, str]:
        body = {"name": tenant, "tenant_id": tenant, "scopes": scopes or ["read", "write"]}
        made = service.post("/keys", json=body, headers=OPERATOR)
        assert made.status_code == 201, made.text
        return {"Authorization": f"Bearer {made.json()['key']}"}

    return make


def submit(client: TestClient, headers: dict[str, str]) -> dict[str, Any]:
    files = {
        "teacher": ("t.pt", b"PK\x03\x04weights"),
        "spec": (None, json.dumps({"student": {"architecture": "mlp8"}})),
    }
    answer = client.post("/jobs", files=files, headers=headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def usage(client: TestClient, headers: dict[str, str], **query: Any) -> list[dict[str, Any]]:
    answer = client.get("/usage", headers=headers, params=query)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def test_a_tenant_sees_its_own(service: TestClient, key: Any, finished: Any) -> None:
    vision, speech = key("vision"), key("speech", "read")
    first, _ = submit(service, vision), submit(service, vision)
    finished(first["id"], student=b"x" * 100)
    (found,) = usage(service, vision)
    assert found["tenant_id"] == "vision"
    limits = {"queued_jobs": 5, "running_jobs": 2, "stored_bytes": None, "requests_per_minute": None}
    assert found["quota"] == limits
    stored = len(b"PK\x03\x04weights") + 100
    assert found["in_use"] == {"queued_jobs": 1, "running_jobs": 0, "stored_bytes": stored}
    (month,) = found["months"]
    assert (month["jobs_submitted"], month["jobs_succeeded"]) == (2, 1)
    assert month["peak_stored_bytes"] == stored
    assert set(month["device_seconds"]) == {"cpu", "cuda"}
    (other,) = usage(service, speech)
    assert other["tenant_id"] == "speech"
    assert other["in_use"] == {"queued_jobs": 0, "running_jobs": 0, "stored_bytes": 0}
    assert other["quota"]["running_jobs"] is None


def test_the_operator_who_names_a_tenant_sees_that_one(service: TestClient) -> None:
    with session_scope() as session:
        for tenant in ("a", "b"):
            counts.note(session, tenant, jobs_submitted=1)
    for name, seen in (("b", {"b"}), ("*", {"a", "b"})):
        shown = usage(service, OPERATOR | {"DFAD-Tenant": name})
        assert {one["tenant_id"] for one in shown} >= seen
        assert name == "*" or len(shown) == 1
    assert "*" not in {one["tenant_id"] for one in usage(service, OPERATOR)}


def test_the_operator_sees_all_a_page_at_a_time(service: TestClient, key: Any) -> None:
    with session_scope() as session:
        for tenant in ("a", "b", "c"):
            counts.note(session, tenant, jobs_submitted=1)
    assert {found["tenant_id"] for found in usage(service, OPERATOR)} >= {"a", "b", "c"}
    names, after = [], None
    while True:
        query = {"limit": 1} | ({} if after is None else {"after": after})
        answer = service.get("/usage", headers=OPERATOR, params=query).json()
        names += [found["tenant_id"] for found in answer["data"]]
        if not answer["has_more"]:
            break
        after = answer["last_id"]
    assert names == sorted(set(names))
    assert set(names) >= {"a", "b", "c"}


def test_months_are_chosen(service: TestClient, key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    vision = key("vision")
    for month in ("2020-01", "2020-12", "2021-02"):
        monkeypatch.setattr(counts, "month_of", lambda _now, month=month: month)
        with session_scope() as session:
            counts.note(session, "vision", jobs_submitted=1)
    monkeypatch.undo()

    def months(**query: str) -> list[str]:
        return [m["month"] for m in usage(service, vision, **query)[0]["months"] if m["month"] < "2022"]

    assert months() == []
    assert months(month="2020-12") == ["2020-12"]
    assert months(month="2020-11") == []
    assert months(since_month="2020-12") == ["2021-02", "2020-12"]
    (everybodys,) = [u for u in usage(service, OPERATOR, month="2020-01") if u["tenant_id"] == "vision"]
    assert [m["month"] for m in everybodys["months"]] == ["2020-01"]
    for wrong in ({"month": "2020-13"}, {"month": "now"}, {"month": "2020-01", "since_month": "2020-01"}):
        assert service.get("/usage", headers=vision, params=wrong).status_code == 422


def test_requests_are_written_down_within_seconds_and_at_the_end(service: TestClient, key: Any) -> None:
    vision = key("vision")
    for _ in range(7):
        assert service.get("/jobs", headers=vision).status_code == 200
    assert service.get("/jobs", headers={"Authorization": "Bearer wrong"}).status_code == 401
    service.get("/healthz")
    deadline = time.monotonic() + 30
    while not (months := usage(service, vision)[0]["months"]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert months[0]["requests"] >= 7

    from app.main import create_app

    before = usage(service, OPERATOR)
    with TestClient(create_app()) as another:
        for _ in range(50):
            assert another.get("/capabilities", headers=vision).status_code == 200
    after = usage(service, OPERATOR)  # the other one has ended: nothing is left in its memory
    counted = [sum(m["requests"] for u in found for m in u["months"]) for found in (before, after)]
    assert counted[1] - counted[0] >= 50


def test_what_cannot_be_written_is_kept_for_the_next_time() -> None:
    from app.access.usage.requests import RequestCounts

    counted = RequestCounts()
    for tenant in ("a", "b", "a"):
        counted.add(tenant)

    def fail() -> None:
        with counted.taken():
            counted.add("a")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    with counted.taken() as taken:
        assert taken == {"a": 3, "b": 1}
    with counted.taken() as taken:
        assert taken == {}
