"""The same file twice is kept once, within a tenant; what ended long ago is deleted, unless it is kept."""

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

Submit = Callable[..., Any]
Stored = Callable[[], dict[str, int]]


def teacher(client: TestClient, content: bytes = b"PK\x03\x04weights") -> str:
    return str(client.post("/teachers", files={"teacher": ("t.pt", content)}).json()["id"])


def artifact_of(teacher_id: str) -> str:
    from app.models import Teacher
    from app.platform.db import read_scope

    with read_scope() as session:
        return session.scalars(select(Teacher.artifact_id).where(Teacher.id == teacher_id)).one()


def test_the_same_file_is_kept_once(client: TestClient, submit: Submit, stored: Stored) -> None:
    first, second = teacher(client), teacher(client)
    submit(teacher=b"PK\x03\x04weights")
    assert first != second
    assert (stored()["teachers"], stored()["artifacts"], stored()["artifact_chunks"]) == (3, 3, 1)
    teacher(client, b"PK\x03\x04others!")
    assert stored()["artifact_chunks"] == 2
    # The one that brought the bytes goes; the others still have them.
    assert client.delete(f"/teachers/{first}").status_code == 204
    assert client.get(f"/artifacts/{artifact_of(second)}").content == b"PK\x03\x04weights"
    assert client.delete(f"/teachers/{second}").status_code == 204
    assert stored()["artifact_chunks"] == 2


def test_but_not_across_tenants(
    database: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("DFAD_API_KEY", "the-operators")
    client, stored = request.getfixturevalue("client"), request.getfixturevalue("stored")
    operator = {"Authorization": "Bearer the-operators"}
    for tenant in ("one", "two"):
        made = client.post("/keys", json={"name": "k", "tenant_id": tenant}, headers=operator).json()
        headers = {"Authorization": f"Bearer {made['key']}"}
        assert client.post(
            "/teachers", files={"teacher": ("t", b"PK\x03\x04weights")}, headers=headers
        ).is_success
    assert stored()["artifact_chunks"] == 2


def test_a_teacher_in_use_stays(client: TestClient, submit: Submit, stored: Stored) -> None:
    job = submit().json()
    url = f"/teachers/{job['teacher']['id']}"
    answer = client.delete(url)
    assert (answer.status_code, answer.json()["code"]) == (409, "teacher_in_use")
    client.post(f"/jobs/{job['id']}/cancel")
    assert client.delete(url).status_code == 204
    assert client.delete(url).status_code == client.get(url).status_code == 404
    assert client.get("/teachers").json()["data"] == []
    assert "artifact_chunks" not in stored()
    # Its job still tells of it, and cannot be run again.
    assert client.get(f"/jobs/{job['id']}").json()["teacher"]["filename"] == "t.pt"
    assert client.post(f"/jobs/{job['id']}/rerun").status_code == 404
    asked = {"student": {"architecture": "mlp8"}, "teacher_id": job["teacher"]["id"]}
    assert client.post("/jobs", json=asked).status_code == 404


def test_a_stored_file_survives_an_answer_that_was_lost(
    client: TestClient, submit: Submit, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database commits and the connection breaks: the bytes of what is there now must stay.

    Tried: with `forget` deleting without asking who owns the bytes, the teacher's chunk was gone.
    """
    from contextlib import contextmanager

    from app.platform.db import session_scope

    @contextmanager
    def broken() -> Any:
        with session_scope() as session:
            yield session
        raise ConnectionError

    monkeypatch.setattr("app.http.idempotency.session_scope", broken)
    assert submit().status_code == 500
    assert (stored()["jobs"], stored()["artifact_chunks"]) == (1, 1)


@pytest.fixture
def a_day(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFAD_RETENTION_DAYS", "1")


def test_retention(a_day: None, request: pytest.FixtureRequest) -> None:
    from app.models import Job, Teacher
    from app.platform.db import database_now, session_scope
    from worker.sweeper import sweep_retention

    client, submit, finished, stored = (
        request.getfixturevalue(name) for name in ("client", "submit", "finished", "stored")
    )
    jobs = [submit({"keep": n == 1}, teacher=b"PK\x03\x04%d" % n).json()["id"] for n in range(4)]
    for job_id in jobs[:3]:
        finished(job_id)
    shown = [client.get(f"/jobs/{job_id}").json() for job_id in jobs]
    assert [job["keep"] for job in shown] == [False, True, False, False]
    assert [bool(job["expires_at"]) for job in shown] == [True, False, True, False]
    client.patch(f"/jobs/{jobs[2]}", json={"keep": True})
    released = client.patch(f"/jobs/{jobs[1]}", json={"keep": False}).json()
    assert released["expires_at"] > released["finished_at"]
    assert sweep_retention() == 0
    with session_scope() as session:
        past = database_now(session) - timedelta(days=2)
        session.execute(update(Job).where(Job.expires_at.is_not(None)).values(expires_at=past))
        session.execute(update(Teacher).values(created_at=past))
    assert sweep_retention() == 4  # two jobs, and the teachers that only they had
    assert [client.get(f"/jobs/{job_id}").status_code for job_id in jobs] == [404, 404, 200, 200]
    assert (stored()["jobs"], stored()["artifacts"], stored()["artifact_chunks"]) == (2, 3, 3)
    assert len(client.get("/teachers").json()["data"]) == 2


def test_a_spec_that_is_refused_leaves_no_bytes(client: TestClient, stored: Stored) -> None:
    for spec in ('{"student": {}}', "nonsense", json.dumps({"student": {"architecture": "x"}})):
        files = {
            "teacher": ("t.pt", b"PK\x03\x04" + b"x" * 3_000_000),
            "spec": (None, spec, "application/json"),
        }
        assert client.post("/jobs", files=files).status_code in (400, 422)
    files = {"teacher": ("t.pt", b"PK\x03\x04"), "spec": (None, '{"student": {"architecture": "mlp8"}}')}
    assert client.post("/jobs/validate", files=files).status_code == 200
    assert stored() == {}
