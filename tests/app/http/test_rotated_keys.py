"""A key's secrets that follow each other, and keys that read the metrics alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

OPERATOR = {"Authorization": "Bearer the-operators"}
Json = dict[str, Any]


@pytest.fixture
def client(home: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    monkeypatch.setenv("DFAD_API_KEY", "the-operators")
    from app.main import create_app
    from app.platform.settings import get_settings

    get_settings.cache_clear()
    with TestClient(create_app(), raise_server_exceptions=False) as test_client:
        yield test_client


@pytest.fixture
def make(client: TestClient) -> Callable[..., Json]:
    """Makes a key of the tenant vision; its whole answer."""

    def create(*scopes: str, **more: Any) -> Json:
        asked = {"name": "k", "tenant_id": "vision", "scopes": list(scopes), **more}
        answer = client.post("/keys", json=asked, headers=OPERATOR)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    return create


def bearer(key: Json) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


def rotate(client: TestClient, key: Json, headers: dict[str, str] = OPERATOR, **asked: Any) -> Json:
    answer = client.post(f"/keys/{key['id']}/rotate", json=asked, headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


def opens(client: TestClient, *keys: Json) -> list[bool]:
    return [client.get("/jobs", headers=bearer(key)).status_code == 200 for key in keys]


def listed(client: TestClient, key: Json) -> Json:
    return next(one for one in client.get("/keys", headers=OPERATOR).json()["data"] if one["id"] == key["id"])


def hours_left(secret: Json) -> float:
    return (datetime.fromisoformat(secret["expires_at"]) - datetime.now(UTC)).total_seconds() / 3600


def test_both_secrets_open_it_for_a_while(client: TestClient, make: Any) -> None:
    from app.access.keys.service import recent
    from app.access.still_open import open_credentials
    from app.models import ApiKey
    from app.platform.db import session_scope

    old = make("read", "write")
    assert opens(client, old) == [True]
    new = rotate(client, old)
    assert new["id"] == old["id"]
    assert new["key"] != old["key"]
    assert opens(client, old, new) == [True, True]
    newest, before = listed(client, old)["secrets"]
    assert (newest["number"], newest["expires_at"], before["number"]) == (2, None, 1)
    assert hours_left(before) == pytest.approx(24, abs=0.1)
    assert None not in (newest["last_used_at"], before["last_used_at"])
    shown = client.get("/keys", headers=OPERATOR).text
    assert old["key"] not in shown
    assert new["key"] not in shown
    streams = {f"{old['id']}/{number}" for number in (1, 2, 3)}
    assert open_credentials(streams) == {f"{old['id']}/1", f"{old['id']}/2"}
    with session_scope() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(ApiKey).where(ApiKey.id == old["id"]).values(previous_expires_at=past))
    recent.clear()  # a second has gone by
    assert opens(client, old, new) == [False, True]
    assert open_credentials(streams) == {f"{old['id']}/2"}
    assert [secret["number"] for secret in listed(client, old)["secrets"]] == [2]


def test_the_audit_tells_the_secrets_apart(client: TestClient, make: Any) -> None:
    old = make("write")
    new = rotate(client, old)
    for key in (old, new):
        client.post(f"/jobs/job_{'0' * 32}/cancel", headers=bearer(key))
    lines = client.get("/audit", headers=OPERATOR | {"DFAD-Tenant": "vision"}).json()["data"]
    assert [(line["key_id"], line["secret_number"]) for line in lines] == [(old["id"], 2), (old["id"], 1)]
    (line, _) = client.get("/audit", headers=OPERATOR).json()["data"]
    assert (line["action"], line["subject_id"]) == (f"POST /keys/{old['id']}/rotate", old["id"])


def test_revoking_ends_both(client: TestClient, make: Any) -> None:
    old = make("read")
    new = rotate(client, old)
    assert opens(client, old, new) == [True, True]
    assert client.delete(f"/keys/{old['id']}", headers=OPERATOR).status_code == 204
    assert opens(client, old, new) == [False, False]
    assert listed(client, old)["secrets"] == []
    again = client.post(f"/keys/{old['id']}/rotate", json={}, headers=OPERATOR)
    assert (again.status_code, again.json()["code"]) == (409, "key_closed")


def test_a_secret_that_leaked_ends_at_once(client: TestClient, make: Any) -> None:
    old = make("read")
    assert opens(client, old) == [True]
    new = rotate(client, old, overlap_seconds=0)
    assert opens(client, old, new) == [False, True]


def test_an_answer_that_was_lost_locks_nobody_out(client: TestClient, make: Any) -> None:
    """The secret that nobody ever had is replaced, and the one in use stays."""
    old = make("read")
    assert opens(client, old) == [True]
    lost = rotate(client, old)
    new = rotate(client, old)
    assert opens(client, old, lost, new) == [True, False, True]
    newer = rotate(client, old)  # a third one beside two that are used: the oldest goes
    assert opens(client, old, new, newer) == [False, True, True]
    assert [secret["number"] for secret in listed(client, old)["secrets"]] == [4, 3]


@pytest.mark.parametrize(
    "body",
    [{"overlap_seconds": -1}, {"overlap_seconds": 30 * 86_400 + 1}, {"overlap_seconds": "1"}, {"x": 1}],
)
def test_overlaps_that_are_refused(client: TestClient, make: Any, body: Json) -> None:
    key = make("read")
    answer = client.post(f"/keys/{key['id']}/rotate", json=body, headers=OPERATOR)
    assert answer.status_code == 422
    assert listed(client, key)["secrets"][0]["number"] == 1


def test_who_may_rotate(client: TestClient, make: Any) -> None:
    admin, reader = make("admin"), make("read")
    theirs = make("read", tenant_id="audio")
    worker = make("worker", tenant_id=admin["tenant_id"])
    for key, who, status in (
        (reader, reader, 403),
        (theirs, admin, 404),
        (worker, admin, 403),
        (reader, admin, 200),
        (admin, admin, 200),
    ):
        answer = client.post(f"/keys/{key['id']}/rotate", json={}, headers=bearer(who))
        assert answer.status_code == status, answer.text


def test_a_key_that_expires_does_so_with_both(client: TestClient, make: Any) -> None:
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    key = make("read", expires_at=soon)
    rotated = rotate(client, key)
    assert [hours_left(secret) <= 1 for secret in rotated["secrets"]] == [True, True]


def test_a_key_that_reads_the_metrics_alone(client: TestClient, make: Any, stored_jobs: Any) -> None:
    stored_jobs.submit()  # of another tenant
    prometheus = make("metrics", tenant_id="monitoring")
    told = client.get("/metrics", headers=bearer(prometheus))
    assert told.status_code == 200
    assert 'dfad_jobs{status="queued"} 1.0' in told.text
    for path in client.app.openapi()["paths"]:  # type: ignore[attr-defined]
        if path not in ("/metrics", "/healthz", "/readyz"):
            for method in ("GET", "POST", "DELETE"):
                answer = client.request(method, path, headers=bearer(prometheus))
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
    for scope in ("read", "write", "admin"):
        assert client.get("/metrics", headers=bearer(make(scope))).status_code == 403


def test_the_operator_alone_gives_the_scope_metrics(client: TestClient, make: Any) -> None:
    """It tells of all tenants, so no admin of one may make such a key, or take one over."""
    admin, prometheus = bearer(make("admin")), make("metrics")
    made = client.post("/keys", json={"name": "k", "scopes": ["metrics"]}, headers=admin)
    assert (made.status_code, made.json()["code"]) == (403, "forbidden")
    taken = client.post(f"/keys/{prometheus['id']}/rotate", json={}, headers=admin)
    assert (taken.status_code, taken.json()["code"]) == (403, "forbidden")
    assert client.get("/metrics", headers=bearer(rotate(client, prometheus))).status_code == 200
