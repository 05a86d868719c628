"""Past a quota: 429, with when to try again, and nothing half-written."""

import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from dfad_client import retrying

Submit = Callable[..., Any]


@pytest.fixture
def quotas(database: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets everybody's quota; before the client is made."""
    return lambda **given: monkeypatch.setenv("DFAD_QUOTAS", json.dumps({"*": given}))


def refused(answer: Any) -> bool:
    return (answer.status_code, answer.json().get("code")) == (429, "quota_exceeded") and int(
        answer.headers["retry-after"]
    ) >= 1


def test_waiting_jobs(quotas: Any, request: pytest.FixtureRequest) -> None:
    quotas(queued_jobs=2)
    submit, stored = request.getfixturevalue("submit"), request.getfixturevalue("stored")
    client: TestClient = request.getfixturevalue("client")
    jobs = [submit().json() for _ in range(2)]
    before = stored()
    assert refused(submit())
    asked = {"student": {"architecture": "mlp8"}, "teacher_id": jobs[0]["teacher"]["id"]}
    assert refused(client.post("/jobs", json=asked))
    assert refused(client.post(f"/jobs/{jobs[0]['id']}/rerun"))
    assert stored() == before
    assert client.post(f"/jobs/{jobs[0]['id']}/cancel").status_code == 200
    assert submit().status_code == 201


def test_stored_bytes(quotas: Any, request: pytest.FixtureRequest) -> None:
    quotas(stored_bytes=10)
    submit, client = request.getfixturevalue("submit"), request.getfixturevalue("client")
    assert submit(teacher=b"PK\x03\x041234").status_code == 201
    assert refused(submit(teacher=b"\x08\x07\x12"))
    assert refused(client.post("/teachers", files={"teacher": ("t", b"\x08\x07\x12")}))
    assert client.post("/teachers", files={"teacher": ("t", b"\x80\x02")}).status_code == 201


@pytest.mark.usefixtures("each_database")
def test_many_at_once_count_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    from app.main import create_app

    monkeypatch.setenv("DFAD_QUOTAS", json.dumps({"*": {"queued_jobs": 3, "stored_bytes": 100}}))
    spec = json.dumps({"student": {"architecture": "mlp8"}})

    def submit(number: int) -> int:
        files = {"teacher": ("t", b"\x80\x02%d" % number), "spec": (None, spec, "application/json")}
        return int(client.post("/jobs", files=files).status_code)

    def upload(number: int) -> int:
        return int(
            client.post("/teachers", files={"teacher": ("t", b"\x80\x02" + bytes([number]) * 38)}).status_code
        )

    with TestClient(create_app()) as client, ThreadPoolExecutor(12) as threads:
        assert Counter(threads.map(submit, range(12))) == {201: 3, 429: 9}
        assert Counter(threads.map(upload, range(12))) == {201: 2, 429: 10}


def test_requests_a_minute(quotas: Any, request: pytest.FixtureRequest) -> None:
    quotas(requests_per_minute=3)
    client = request.getfixturevalue("client")
    assert [client.get("/jobs").status_code for _ in range(3)] == [200] * 3
    answer = client.get("/jobs")
    assert refused(answer)
    assert int(answer.headers["retry-after"]) <= 60
    assert client.get("/healthz").status_code == 200


@pytest.mark.services
def test_requests_are_counted_over_all_servers_and_without_redis(
    quotas: Any, monkeypatch: pytest.MonkeyPatch, redis_server: Any, database: str
) -> None:
    from app.main import create_app

    quotas(requests_per_minute=4)
    monkeypatch.setenv("DFAD_BROKER_URL", redis_server.url)
    with TestClient(create_app()) as one, TestClient(create_app()) as two:
        assert [c.get("/capabilities").status_code for c in (one, two, one, two)] == [200] * 4
        assert refused(one.get("/capabilities"))
        assert refused(two.get("/capabilities"))
        redis_server.kill()
        assert one.get("/capabilities").status_code == 200
    redis_server.start()


def test_what_a_job_makes_is_kept_and_no_job_is_taken_until_there_is_room(
    quotas: Any, request: pytest.FixtureRequest
) -> None:
    quotas(stored_bytes=1000)
    submit, finished, client = (request.getfixturevalue(n) for n in ("submit", "finished", "client"))
    job, other = submit().json(), submit().json()
    finished(job["id"], student=b"x" * 1200)
    assert client.get(f"/jobs/{job['id']}/student").content == b"x" * 1200
    asked = {"student": {"architecture": "mlp8"}, "teacher_id": job["teacher"]["id"]}
    for path, body in (("/jobs", asked), ("/jobs/validate", asked), (f"/jobs/{job['id']}/rerun", None)):
        answer = client.post(path, json=body)
        assert refused(answer)
        assert "1000 stored bytes" in answer.json()["detail"]
        assert "delete jobs" in answer.json()["detail"]
        # Longer than clients wait by themselves: they say so at once.
        assert int(answer.headers["retry-after"]) > retrying.LONGEST_PAUSE_SECONDS
    assert refused(submit())
    # What was taken before goes on, and whoever deletes has room at once.
    finished(other["id"], student=b"y")
    assert client.delete(f"/jobs/{job['id']}").status_code == 204
    assert client.post("/jobs", json=asked).status_code == 201
