"""Keys without which nobody could make or revoke another one.

Guards: that the first key of a server without the operator's manages the others, that the last one which does
is not revoked, whoever asks at the same time, and that the refusals say what to do.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import delete
from starlette.testclient import TestClient

ADMIN = {"name": "k", "scopes": ["admin"]}
SOON = (datetime.now(UTC) + timedelta(days=1)).isoformat()


def bearer(key: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


@pytest.mark.parametrize(
    "asked",
    [
        {"name": "ci"},
        {"name": "ci", "scopes": ["read", "write"]},
        {"name": "ci", "tenant_id": "vision"},
        {**ADMIN, "tenant_id": "vision"},
        {**ADMIN, "expires_at": SOON},
    ],
)
def test_a_first_key_that_would_lock_its_owner_out(client: TestClient, asked: dict[str, Any]) -> None:
    for headers in ({}, {"Authorization": "Bearer of-another-server"}):
        refused = client.post("/keys", json=asked, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (409, "first_key_must_be_admin")
        for remedy in ("dfad keys create NAME --scope admin", "DFAD_API_KEY"):
            assert remedy in refused.json()["detail"]
    assert client.get("/jobs").status_code == 200
    assert client.get("/keys").json()["data"] == []


@pytest.mark.parametrize("scopes", [["admin"], ["read", "write", "admin"]])
def test_a_first_key_manages_the_others(client: TestClient, scopes: list[str]) -> None:
    first = client.post("/keys", json={"name": "k", "scopes": scopes}).json()
    assert (first["tenant_id"], first["first"]) == ("local", True)
    second = client.post("/keys", json={"name": "ci", "expires_at": SOON}, headers=bearer(first))
    assert (second.status_code, second.json()["first"]) == (201, False)
    assert len(client.get("/keys", headers=bearer(first)).json()["data"]) == 2
    assert client.delete(f"/keys/{second.json()['id']}", headers=bearer(first)).status_code == 204


def test_whoever_has_no_admin_key_is_told_who_makes_one(client: TestClient) -> None:
    admin = client.post("/keys", json=ADMIN).json()
    plain = client.post("/keys", json={"name": "ci"}, headers=bearer(admin)).json()
    refused = client.get("/keys", headers=bearer(plain))
    assert (refused.status_code, "DFAD_API_KEY" in refused.json()["detail"]) == (403, True)


def test_the_last_admin_key_stays(client: TestClient) -> None:
    first = client.post("/keys", json=ADMIN).json()
    mine = bearer(first)
    others = [
        client.post("/keys", json=asked, headers=mine).json()
        for asked in ({"name": "ci"}, {**ADMIN, "expires_at": SOON}, {**ADMIN, "name": "gone"})
    ]
    assert client.delete(f"/keys/{others[2]['id']}", headers=mine).status_code == 204
    refused = client.delete(f"/keys/{first['id']}", headers=mine)
    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin_key")
    for remedy in ("another one first", "DFAD_API_KEY"):
        assert remedy in refused.json()["detail"]
    second = client.post("/keys", json=ADMIN, headers=mine).json()
    for _ in range(2):
        assert client.delete(f"/keys/{first['id']}", headers=bearer(second)).status_code == 204
    assert client.get("/keys", headers=mine).status_code == 401
    for other in others:
        assert client.delete(f"/keys/{other['id']}", headers=bearer(second)).status_code == 204


def test_each_tenant_keeps_one(
    database: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """With the operator's key anything goes; after it is gone, no tenant helps another."""
    from app.main import create_app
    from app.platform.settings import get_settings

    monkeypatch.setenv("DFAD_API_KEY", "the-operators")
    client, operator = request.getfixturevalue("client"), {"Authorization": "Bearer the-operators"}

    def make(tenant: str, **more: Any) -> dict[str, Any]:
        made = client.post("/keys", json={**ADMIN, "tenant_id": tenant, **more}, headers=operator)
        assert (made.status_code, made.json()["first"]) == (201, False)
        return dict(made.json())

    make("vision", scopes=["read"])
    ours, theirs, gone = make("vision"), make("audio"), make("local")
    assert client.delete(f"/keys/{gone['id']}", headers=operator).status_code == 204
    monkeypatch.delenv("DFAD_API_KEY")
    get_settings.cache_clear()
    with TestClient(create_app()) as without:
        for key in (ours, theirs):
            refused = without.delete(f"/keys/{key['id']}", headers=bearer(key))
            assert (refused.status_code, refused.json()["code"]) == (409, "last_admin_key")


@pytest.fixture
def at_once(each_database: str) -> Callable[..., list[str]]:
    """Runs all at the same time; "done", or the code of its refusal, of each."""

    def run(*acts: Callable[[], object]) -> list[str]:
        from app.platform.errors import ServiceError

        barrier = Barrier(len(acts))

        def act(what: Callable[[], object]) -> str:
            barrier.wait()
            try:
                what()
            except ServiceError as refusal:
                return refusal.code
            return "done"

        with ThreadPoolExecutor(len(acts)) as threads:
            return list(threads.map(act, acts))

    return run


def test_many_first_keys_at_once(at_once: Callable[..., list[str]]) -> None:
    from app.access.keys.principal import ANYONE
    from app.access.keys.service import create_key
    from app.platform.db import session_scope

    def make(scope: str) -> object:
        about = {"tenant_id": "local", "name": "k", "scopes": [scope], "expires_at": None}
        with session_scope() as session:
            return create_key(session, ANYONE, **about)

    ended = at_once(*(lambda: make("admin") for _ in range(4)), *(lambda: make("read") for _ in range(2)))
    assert ended.count("done") == 1
    assert set(ended[4:]) <= {"unauthorized", "first_key_must_be_admin"}


def test_two_admins_revoke_each_other_at_once(at_once: Callable[..., list[str]]) -> None:
    from app.access.keys.principal import OPERATOR
    from app.access.keys.service import create_key, revoke_key
    from app.platform.db import session_scope

    def revoke(key_id: str) -> None:
        with session_scope() as session:
            revoke_key(session, key_id)

    for tenant in (f"t{number}" for number in range(5)):
        about = {"tenant_id": tenant, "name": "k", "scopes": ["admin"], "expires_at": None}
        with session_scope() as session:
            acts = [partial(revoke, create_key(session, OPERATOR, **about)[0].id) for _ in range(2)]
        assert sorted(at_once(*acts)) == ["done", "last_admin_key"]


def test_an_older_copy_of_the_database_does_not_open_the_server(client: TestClient) -> None:
    from app.access.keys.service import recent
    from app.models import ApiKey
    from app.models.tenancy import as_system
    from app.platform.db import session_scope

    key = client.post("/keys", json=ADMIN).json()
    with as_system(), session_scope() as session:
        session.execute(delete(ApiKey))
    recent.clear()
    for headers in ({}, {"Authorization": "Bearer of-another-server"}, bearer(key)):
        assert client.get("/jobs", headers=headers).status_code == 401


def test_a_server_that_others_reach_is_never_open(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.get("/jobs").status_code == 200
    from app.access.keys.service import is_open_to_all
    from app.platform.settings import get_settings

    monkeypatch.setenv("DFAD_HOST", "0.0.0.0")
    get_settings.cache_clear()
    assert not is_open_to_all(get_settings())
