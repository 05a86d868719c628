"""The audit: what each line says, who sees it, spans of time, and the export of all of it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert
from starlette.testclient import TestClient

from tests.app.http.conftest import SPEC

OPERATOR = {"Authorization": "Bearer the-operators"}
ALL = OPERATOR | {"DFAD-Tenant": "*"}
START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def client(home: Path, each_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A server with the operator's key, on each of the databases."""
    monkeypatch.setenv("DFAD_API_KEY", "the-operators")
    from app.main import create_app
    from app.platform.settings import get_settings

    get_settings.cache_clear()
    with TestClient(create_app(), raise_server_exceptions=False, follow_redirects=False) as test_client:
        yield test_client


@pytest.fixture
def key(client: TestClient) -> Callable[[str], dict[str, Any]]:
    """Makes an admin key of a tenant; the whole answer."""

    def make(tenant: str) -> dict[str, Any]:
        asked = {"name": "k", "tenant_id": tenant, "scopes": ["admin"]}
        made: dict[str, Any] = client.post("/keys", json=asked, headers=OPERATOR).json()
        return made

    return make


def bearer(key: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


def submit(client: TestClient, headers: dict[str, str]) -> dict[str, Any]:
    files = {
        "teacher": ("t.pt", b"PK\x03\x04weights"),
        "spec": (None, json.dumps(SPEC), "application/json"),
    }
    made: dict[str, Any] = client.post("/jobs", files=files, headers=headers).json()
    return made


def lines(client: TestClient, headers: dict[str, str], **params: Any) -> list[dict[str, Any]]:
    """Newest first."""
    found: list[dict[str, Any]] = client.get("/audit", params=params, headers=headers).json()["data"]
    return found


def test_a_line_names_what_was_made_or_changed(client: TestClient, key: Any) -> None:
    vision = key("vision")
    headers = bearer(vision)
    job = submit(client, headers)
    again = client.post(f"/jobs/{job['id']}/rerun", headers=headers).json()["id"]
    client.post(f"/jobs/{job['id']}/cancel", headers=headers)
    client.delete(f"/jobs/{job['id']}", headers=headers)
    client.delete(f"/jobs/{job['id']}", headers=headers)
    client.post("/jobs/validate", json=SPEC, headers=headers)
    hook = client.post("/webhooks", json={"url": "https://hooks.example.com/"}, headers=headers).json()["id"]
    delivery = client.post(f"/webhooks/{hook}/test", headers=headers).json()["id"]
    upload = client.post(
        "/uploads", json={"filename": "f", "bytes": 4, "sha256": "0" * 64}, headers=headers
    ).json()["id"]
    other = client.post("/keys", json={"name": "k"}, headers=headers).json()["id"]
    client.delete(f"/keys/{other}", headers=headers)
    seen = lines(client, headers)
    found = [(line["action"].split("/")[1], line["status"], line["subject_id"]) for line in seen]
    assert found == [
        ("keys", 204, other),
        ("keys", 201, other),
        ("uploads", 201, upload),
        ("webhooks", 201, delivery),
        ("webhooks", 201, hook),
        ("jobs", 200, None),
        ("jobs", 404, None),
        ("jobs", 204, job["id"]),
        ("jobs", 200, job["id"]),
        ("jobs", 201, again),
        ("jobs", 201, job["id"]),
    ]
    assert {(line["key_id"], line["operator"]) for line in seen} == {(vision["id"], False)}
    (made,) = lines(client, OPERATOR)
    assert (made["action"], made["subject_id"]) == ("POST /keys", vision["id"])


def test_buttons_of_the_page_as_well(client: TestClient, key: Any) -> None:
    headers = bearer(key("vision"))
    jobs = [submit(client, headers)["id"] for _ in range(2)]
    client.post("/ui/act", data={"action": "cancel", "job": [*jobs, f"job_{'0' * 32}"]}, headers=headers)
    again = client.post(f"/ui/jobs/{jobs[0]}/rerun", headers=headers).headers["location"].split("/")[-1]
    client.post(f"/ui/jobs/{jobs[1]}/delete", headers=headers)
    made = client.post(
        "/ui/webhooks", data={"url": "https://h.example.com/", "events": "job.*"}, headers=headers
    )
    hook = made.headers["location"].split("/")[-1]
    newest = [line["subject_id"] for line in lines(client, headers)]
    assert newest[:3] == [hook, jobs[1], again]
    assert set(newest[3:5]) == set(jobs)


def test_what_the_operator_did_for_a_tenant(client: TestClient, key: Any) -> None:
    vision = bearer(key("vision"))
    job = submit(client, OPERATOR | {"DFAD-Tenant": "vision"})
    (line,) = lines(client, vision)
    assert (line["action"], line["subject_id"]) == ("POST /jobs", job["id"])
    assert (line["tenant_id"], line["key_id"], line["operator"]) == ("vision", None, True)
    assert lines(client, OPERATOR | {"DFAD-Tenant": "vision"}) == [line]
    submit(client, vision)
    assert [(one["tenant_id"], one["operator"]) for one in lines(client, ALL)] == [
        ("vision", False),
        ("vision", True),
        ("local", True),
    ]


def test_sign_ins_are_filed_under_who_signed_in(client: TestClient, key: Any) -> None:
    vision = key("vision")
    assert client.post("/ui/sign-in", data={"key": vision["key"]}).status_code == 303
    assert client.post("/ui/sign-in", data={"key": "the-operators"}).status_code == 303
    client.cookies.clear()
    assert client.post("/ui/sign-in", data={"key": "wrong"}).status_code == 401
    signed_in = [line for line in lines(client, ALL) if line["action"] == "POST /ui/sign-in"]
    about = [(one["tenant_id"], one["key_id"], one["operator"], one["status"]) for one in signed_in]
    assert about == [
        (None, None, False, 401),
        ("local", None, True, 303),
        ("vision", vision["id"], False, 303),
    ]
    assert all(one["tenant_id"] is not None for one in lines(client, OPERATOR))
    assert [one["status"] for one in lines(client, bearer(vision))] == [303]


def test_who_tries_many_keys_does_not_fill_it(client: TestClient) -> None:
    from app.access.keys import wrong_keys

    for number in range(3 * wrong_keys.BURST):
        wrong_keys.wrong_keys.clear()  # as they are in a crowd that all come at the same moment
        assert client.post("/ui/sign-in", data={"key": f"wrong {number}"}).status_code == 401
    assert wrong_keys.BURST <= len(lines(client, ALL, limit=100)) <= wrong_keys.BURST + 10


@pytest.fixture
def filled(client: TestClient) -> list[str]:
    """Ids of 1,000 lines, a second after each other from START on; every other one of the tenant vision."""
    from app.models import AuditEvent
    from app.platform.db import session_scope
    from app.platform.ids import new_id

    rows = []
    for number in range(1000):
        at = START + timedelta(seconds=number)
        about = {"key_id": None, "status": 201, "request_id": "r", "address": 'a,"b', "created_at": at}
        about |= {"id": new_id("aud", at), "action": "POST /jobs", "operator": False, "subject_id": None}
        rows.append(about | {"tenant_id": ("vision", "local")[number % 2]})
    with session_scope() as session:
        session.execute(insert(AuditEvent), rows)
    return [row["id"] for row in rows]


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def exported(client: TestClient, headers: dict[str, str], **params: Any) -> list[dict[str, Any]]:
    answer = client.get("/audit/export", params=params, headers=headers)
    assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_a_span_of_time(client: TestClient, filled: list[str]) -> None:
    assert [one["id"] for one in lines(client, ALL, since=at(998))] == [filled[999], filled[998]]
    assert [one["id"] for one in lines(client, ALL, until=at(2))] == [filled[1], filled[0]]
    page = client.get("/audit", params={"since": at(10), "until": at(20), "limit": 3}, headers=ALL).json()
    assert (page["first_id"], page["last_id"], page["has_more"]) == (filled[19], filled[17], True)
    rest = lines(client, ALL, since=at(10), until=at(20), after=page["last_id"])
    assert [one["id"] for one in rest] == filled[16:9:-1]
    elsewhere = (START + timedelta(seconds=999)).astimezone().isoformat()
    assert [one["id"] for one in lines(client, ALL, since=elsewhere)] == [filled[999]]
    assert lines(client, ALL, since=at(20), until=at(10)) == []


@pytest.mark.parametrize("path", ["/audit", "/audit/export"])
def test_odd_times(client: TestClient, filled: list[str], path: str) -> None:
    for value in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "1900-01-01T00:00:00Z"):
        for name in ("since", "until"):
            answer = client.get(path, params={name: value}, headers=ALL)
            assert (answer.status_code, bool(filled[0] in answer.text or filled[999] in answer.text)) == (
                200,
                (name == "since") != value.startswith("9"),
            ), (name, value)
    for value in ("yesterday", "2026-03-01", "2026-03-01T00:00:00", ""):
        refused = client.get(path, params={"since": value}, headers=ALL)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/since"), value


def test_an_export_has_all_lines_oldest_first(client: TestClient, filled: list[str], key: Any) -> None:
    key("vision")
    everything = exported(client, ALL)
    assert [one["id"] for one in everything[:1000]] == filled
    assert [one["action"] for one in everything[1000:]] == ["POST /keys"]
    span = exported(client, ALL, since=at(100), until=at(700))
    assert [one["id"] for one in span] == filled[100:700]
    assert span[0] == lines(client, ALL, since=at(100), until=at(101))[0]
    of_one = exported(client, OPERATOR | {"DFAD-Tenant": "vision"})
    assert [one["id"] for one in of_one] == filled[::2]
    assert exported(client, ALL, since=at(5000), until=at(6000)) == []


def test_an_export_as_csv(client: TestClient, filled: list[str]) -> None:
    answer = client.get("/audit/export", params={"until": at(1000)}, headers=ALL | {"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    found = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert [one["id"] for one in found] == filled
    as_json = exported(client, ALL, until=at(1000))
    assert found[0] == {name: "" if value is None else str(value) for name, value in as_json[0].items()}


def test_an_export_holds_no_transaction(client: TestClient, filled: list[str]) -> None:
    """Between two pieces there is none, and each piece is a bounded read."""
    from app.access.audit.endpoints import LINES_AT_ONCE
    from app.platform.db import get_engine

    steps: list[str] = []

    def note_read(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if "FROM audit_events" in statement:
            assert "LIMIT" in statement
            steps.append("read")

    def note_end(*_: Any) -> None:
        if steps and steps[-1] == "read":
            steps.append("end")

    listeners = (("after_cursor_execute", note_read), ("checkin", note_end))
    for name, listener in listeners:
        event.listen(get_engine(), name, listener)
    got = client.get("/audit/export", params={"until": at(1000)}, headers=ALL).text.count("\n")
    for name, listener in listeners:
        event.remove(get_engine(), name, listener)
    assert got == 1000
    assert steps == ["read", "end"] * (1000 // LINES_AT_ONCE + 1)


def test_an_export_needs_an_admin(client: TestClient, filled: list[str], key: Any) -> None:
    asked = {"name": "k", "tenant_id": "vision", "scopes": ["read", "write"]}
    writer = client.post("/keys", json=asked, headers=OPERATOR).json()
    assert client.get("/audit/export", headers=bearer(writer)).status_code == 403
    admin = exported(client, bearer(key("nlp")))
    assert admin == []
