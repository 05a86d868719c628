"""What belongs to another tenant does not exist."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update
from starlette.testclient import TestClient

PARTS = ("", "/events", "/metrics", "/samples", "/artifacts", "/student")


@pytest.fixture
def foreign(client: TestClient, submit: Callable[..., Any], finished: Callable[..., None]) -> dict[str, str]:
    """Ids of a finished job, its teacher and its student, all of another tenant."""
    from app.models import Artifact, Job, Teacher
    from app.platform.db import session_scope

    job = submit(headers={"Idempotency-Key": "k"}).json()
    finished(job["id"])
    artifact = client.get(f"/jobs/{job['id']}/artifacts").json()["data"][0]["id"]
    with session_scope() as session:
        for table in (Job, Teacher, Artifact):
            session.execute(update(table).values(tenant_id="other"))
    return {"job": job["id"], "teacher": job["teacher"]["id"], "artifact": artifact}


def test_nothing_of_it_can_be_seen(client: TestClient, foreign: dict[str, str]) -> None:
    paths = [f"/jobs/{foreign['job']}{part}" for part in PARTS]
    paths += [f"/teachers/{foreign['teacher']}", f"/artifacts/{foreign['artifact']}"]
    for path in paths:
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), path
    streamed = client.get(f"/jobs/{foreign['job']}/events", headers={"Accept": "text/event-stream"})
    assert streamed.status_code == 404
    assert client.get("/jobs").json()["data"] == client.get("/teachers").json()["data"] == []


def test_nothing_of_it_can_be_changed_or_used(client: TestClient, foreign: dict[str, str]) -> None:
    job = f"/jobs/{foreign['job']}"
    asked = {"student": {"architecture": "mlp8"}, "teacher_id": foreign["teacher"]}
    for answer in (
        client.post(f"{job}/cancel"),
        client.patch(job, json={"metadata": {}}),
        client.delete(job),
        client.post("/jobs", json=asked),
        client.post("/jobs/validate", json=asked),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_keys_of_tenants_do_not_meet(foreign: dict[str, str], submit: Callable[..., Any]) -> None:
    again = submit({"seed": 5}, headers={"Idempotency-Key": "k"})
    assert again.status_code == 201
    assert again.json()["id"] != foreign["job"]
