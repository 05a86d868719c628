"""Keys of the database: what they open, for whom, and until when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient


@pytest.fixture
def make(client: TestClient) -> Any:
    """Makes a key as the operator; its whole answer."""

    def create(**asked: Any) -> dict[str, Any]:
        admin = {"Authorization": f"Bearer {made[0]['key']}"} if made else {}
        # The first key is an admin's: once there is one, nobody gets in without.
        answer = client.post("/keys", json={"name": "k", **asked}, headers=admin)
        assert answer.status_code == 201, answer.text
        made.append(answer.json())
        return made[-1]

    made: list[dict[str, Any]] = []
    return create


def bearer(key: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


def test_the_first_key_closes_the_door(client: TestClient, make: Any) -> None:
    assert client.get("/jobs").status_code == 200
    key = make(scopes=["admin"])
    assert key["first"]
    assert client.get("/jobs").status_code == 401
    assert client.get("/jobs", headers=bearer(key)).status_code == 200
    assert client.get("/healthz").status_code == 200
    assert not make(scopes=["admin"])["first"]


def test_revoking_all_keys_opens_nothing(
    database: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    from app.main import create_app
    from app.platform.settings import get_settings

    monkeypatch.setenv("DFAD_API_KEY", "the-operators")
    client, operator = request.getfixturevalue("client"), {"Authorization": "Bearer the-operators"}
    key = client.post("/keys", json={"name": "k", "scopes": ["admin"]}, headers=operator).json()
    assert client.delete(f"/keys/{key['id']}", headers=operator).status_code == 204
    monkeypatch.delenv("DFAD_API_KEY")
    get_settings.cache_clear()
    with TestClient(create_app()) as without:
        for headers in ({}, bearer(key), operator):
            assert without.get("/jobs", headers=headers).status_code == 401


def test_the_secret_is_shown_once_and_kept_nowhere(client: TestClient, make: Any) -> None:
    from app.access.keys.tokens import parse
    from app.models import ApiKey
    from app.platform.db import read_scope

    key = make(scopes=["admin"])
    shown = client.get("/keys", headers=bearer(key)).text
    _, secret = parse(key["key"])  # which may have an underscore of its own
    assert key["id"] in shown
    assert secret not in shown
    with read_scope() as session:
        row = session.scalars(select(ApiKey)).one()
        assert all(secret not in str(getattr(row, c.key)) for c in ApiKey.__table__.columns)
        assert row.last_used_at is not None


@pytest.mark.parametrize(
    ("scopes", "read", "write", "admin"),
    [(["read"], 200, 403, 403), (["write"], 200, 404, 403), (["admin"], 200, 404, 200)],
)
def test_scopes(client: TestClient, make: Any, scopes: list[str], read: int, write: int, admin: int) -> None:
    make(scopes=["admin"])
    headers = bearer(make(scopes=scopes))
    assert client.get("/jobs", headers=headers).status_code == read
    assert client.post(f"/jobs/job_{'0' * 32}/cancel", headers=headers).status_code == write
    answer = client.get("/keys", headers=headers)
    assert answer.status_code == admin
    if admin == 403:
        assert answer.json()["code"] == "forbidden"


def test_an_expired_key_opens_nothing(client: TestClient, make: Any) -> None:
    from app.access.keys.service import recent
    from app.models import ApiKey
    from app.platform.db import session_scope

    make(scopes=["admin"])
    key = make(expires_at=(datetime.now(UTC) + timedelta(hours=1)).isoformat())
    assert client.get("/jobs", headers=bearer(key)).status_code == 200
    with session_scope() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(ApiKey).where(ApiKey.id == key["id"]).values(expires_at=past))
    recent.clear()  # a second has gone by
    assert client.get("/jobs", headers=bearer(key)).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "k", "scopes": []},
        {"name": "k", "scopes": ["root"]},
        {"name": "k", "expires_at": "2020-01-01T00:00:00Z"},
        {"name": "k", "expires_at": "0001-01-01T00:00:00+23:59"},
        {"name": "k", "expires_at": "2090-01-01T00:00:00"},
        {"name": "k", "tenant_id": "../x"},
        {"name": "k", "more": 1},
    ],
)
def test_refused_requests(client: TestClient, body: dict[str, Any]) -> None:
    answer = client.post("/keys", json=body)
    assert answer.status_code == 422
    assert client.get("/jobs").status_code == 200


@pytest.mark.parametrize("expires_at", ["9999-12-31T23:59:59-23:59", "9999-12-31T23:59:59Z"])
def test_a_key_for_ever(client: TestClient, make: Any, expires_at: str) -> None:
    """Until a time for which UTC has no year: the last that every time zone can show."""
    admin = bearer(make(scopes=["admin"]))
    made = client.post("/keys", json={"name": "k", "expires_at": expires_at}, headers=admin)
    assert made.status_code == 201
    (kept, _) = client.get("/keys", headers=admin).json()["data"]
    assert kept["expires_at"] == "9999-12-29T00:00:00Z"
    assert client.get("/jobs", headers=bearer(made.json())).status_code == 200


def test_guessed_keys(client: TestClient, make: Any) -> None:
    key = make(scopes=["admin"])["key"]
    other = key[:-2] + ("AA" if key[-2:] != "AA" else "BB")
    for wrong in (key[:-1], other, key.upper(), "dfad_", f"dfad_{'0' * 32}_{'A' * 43}"):
        answer = client.get("/jobs", headers={"Authorization": f"Bearer {wrong}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


def test_an_admin_of_a_tenant_manages_its_own_keys_alone(
    database: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("DFAD_API_KEY", "the-operators")
    client, operator = request.getfixturevalue("client"), {"Authorization": "Bearer the-operators"}
    ours, theirs = (
        client.post("/keys", json={"name": t, "tenant_id": t, "scopes": ["admin"]}, headers=operator).json()
        for t in ("ours", "theirs")
    )
    assert client.post("/keys", json={"name": "k"}, headers=bearer(ours)).json()["tenant_id"] == "ours"
    forged = client.post("/keys", json={"name": "k", "tenant_id": "theirs"}, headers=bearer(ours))
    assert (forged.status_code, forged.json()["errors"][0]["pointer"]) == (422, "/tenant_id")
    assert client.delete(f"/keys/{theirs['id']}", headers=bearer(ours)).status_code == 404
    assert {k["tenant_id"] for k in client.get("/keys", headers=bearer(ours)).json()["data"]} == {"ours"}
    assert len(client.get("/keys", headers=operator).json()["data"]) == 3
    assert client.delete(f"/keys/{theirs['id']}", headers=operator).status_code == 204
    assert client.get("/jobs", headers=bearer(theirs)).status_code == 401


def test_what_was_changed_is_written_down(client: TestClient, make: Any) -> None:
    admin = make(scopes=["admin"])
    reader = make(scopes=["read"])
    client.post(f"/jobs/job_{'0' * 32}/cancel", headers=bearer(admin))
    client.get("/jobs", headers=bearer(admin))
    client.post(f"/jobs/job_{'0' * 32}/cancel", headers=bearer(reader))
    events = client.get("/audit", headers=bearer(admin)).json()["data"]
    assert [(e["action"].split()[0], e["status"], e["key_id"]) for e in events] == [
        ("POST", 404, admin["id"]),
        ("POST", 201, admin["id"]),
        ("POST", 201, None),
    ]
    assert client.get("/audit", headers=bearer(reader)).status_code == 403
