"""Calls, retries, refusals, pages and waiting."""

from __future__ import annotations

import email.utils
import json
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dfad_client import ApiError, Client, ConnectionFailed
from dfad_client.retrying import LONGEST_BACKOFF_SECONDS

SPEC = {"student": {"architecture": "lenet5_half"}}
REFUSED = httpx2.ConnectError("refused")


def test_a_teacher_travels_with_its_spec_and_the_key(
    client: Client, server: Any, fake: Any, tmp_path: Path
) -> None:
    (tmp_path / "t.safetensors").write_bytes(b"weights")
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    job = client.jobs.create(tmp_path / "t.safetensors", spec=SPEC)
    assert (job.id, job.status, job.terminal, job.raw["a_field_of_tomorrow"]) == (
        "job_1",
        "queued",
        False,
        True,
    )
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer secret"
    body = request.content
    assert body.index(json.dumps(SPEC).encode()) < body.index(b"weights"), "the spec goes first"
    assert b'filename="t.safetensors"' in body


def test_a_known_teacher_is_named_in_json(client: Client, server: Any, fake: Any) -> None:
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    client.jobs.create(teacher_id="tch_1", spec=SPEC)
    assert json.loads(server.requests[0].content) == {**SPEC, "teacher_id": "tch_1"}


@pytest.mark.parametrize("given", [{}, {"teacher": "t.pt", "teacher_id": "tch_1"}])
def test_exactly_one_teacher(client: Client, given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="either"):
        client.jobs.create(**given, spec=SPEC)


def test_tries_again_with_the_same_key_and_the_whole_file(
    client: Client, server: Any, fake: Any, tmp_path: Path
) -> None:
    (tmp_path / "t.pt").write_bytes(b"weights")
    server.on(
        "POST",
        "/jobs",
        REFUSED,
        httpx2.ReadTimeout("slow"),
        fake.problem(503, "unavailable", Retry_After="7"),
        fake.problem(409, "idempotency_in_flight"),
        httpx2.Response(201, json=fake.job()),
    )
    client.jobs.create(tmp_path / "t.pt", spec=SPEC)
    keys = {request.headers["idempotency-key"] for request in server.requests}
    assert len(server.requests) == 5
    assert len(keys) == 1
    assert all(b"weights" in request.content for request in server.requests)
    assert server.sleeps[2] == 7.0
    assert all(0 < pause <= LONGEST_BACKOFF_SECONDS for pause in server.sleeps)


def test_two_jobs_have_two_keys_and_a_given_key_is_kept(client: Client, server: Any, fake: Any) -> None:
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    for key in (None, None, "mine"):
        client.jobs.create(teacher_id="tch_1", spec=SPEC, idempotency_key=key)
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


def test_retry_after_may_be_a_date(client: Client, server: Any, fake: Any) -> None:
    when = email.utils.formatdate(time.time() + 30, usegmt=True)
    server.on(
        "GET",
        "/jobs/job_1",
        fake.problem(429, "rate", Retry_After=when),
        httpx2.Response(200, json=fake.job()),
    )
    client.jobs.retrieve("job_1")
    assert 20 < server.sleeps[0] <= 30


@pytest.mark.parametrize(("status", "header"), [(429, "3600"), (400, ""), (404, ""), (501, ""), (409, "")])
def test_what_is_not_worth_another_try_is_raised_at_once(
    client: Client, server: Any, fake: Any, status: int, header: str
) -> None:
    server.on("GET", "/jobs/job_1", fake.problem(status, "some_code", "Because.", Retry_After=header))
    with pytest.raises(ApiError, match="Because") as caught:
        client.jobs.retrieve("job_1")
    assert (caught.value.status, caught.value.code, caught.value.request_id) == (status, "some_code", "req_7")
    assert len(server.requests) == 1


def test_a_conflict_is_tried_again_only_where_it_passes(client: Client, server: Any, fake: Any) -> None:
    path = "/jobs/job_1/resume"
    done = httpx2.Response(200, json=fake.job())
    passing = (fake.problem(409, "conflict", Retry_After="1"), fake.problem(409, "idempotency_in_flight"))
    server.on("POST", path, *passing, done)
    client.jobs.resume("job_1")
    assert len(server.requests) == 3
    server.on("POST", path, fake.problem(409, "invalid_transition", "The job is running."))
    with pytest.raises(ApiError, match="running"):
        client.jobs.resume("job_1")
    assert len(server.requests) == 4


def test_everything_that_creates_has_one_key_over_all_tries(
    client: Client, server: Any, fake: Any, tmp_path: Path
) -> None:
    (tmp_path / "t.pt").write_bytes(b"weights")
    upload = {"id": "upl_1", "status": "completed"}
    teacher = {"id": "tch_1", "status": "inspecting"}
    calls = {
        "/jobs": (fake.job(), lambda: client.jobs.create(teacher_id="tch_1", spec=SPEC)),
        "/jobs/job_1/rerun": (fake.job(), lambda: client.jobs.rerun("job_1")),
        "/teachers": (teacher, lambda: client.teachers.create(tmp_path / "t.pt")),
        "/uploads": (upload, lambda: client.uploads.send(tmp_path / "t.pt")),
    }
    for path, (body, call) in calls.items():
        server.on("POST", path, REFUSED, fake.problem(500, "x"), httpx2.Response(201, json=body))
        call()
        keys = [request.headers["idempotency-key"] for request in server.sent("POST", path)]
        assert (len(keys), len(set(keys))) == (3, 1), path


def test_a_key_whose_answer_is_lost_is_not_made_twice(client: Client, server: Any) -> None:
    server.on("POST", "/keys", httpx2.ReadTimeout("slow"))
    with pytest.raises(ConnectionFailed):
        client.keys.create("ci")
    assert len(server.requests) == 1


def test_gives_up_in_the_end(client: Client, server: Any, fake: Any) -> None:
    server.on("GET", "/jobs/job_1", REFUSED)
    with pytest.raises(ConnectionFailed, match=r"http://dfad\.test"):
        client.jobs.retrieve("job_1")
    assert len(server.requests) == 5
    server.on("GET", "/jobs/job_1", fake.problem(503, "unavailable"))
    with pytest.raises(ApiError, match="No"):
        client.jobs.retrieve("job_1")


def test_a_refusal_names_the_places(client: Client, server: Any, fake: Any) -> None:
    server.on("POST", "/jobs", fake.problem(422, "invalid_request", "Not valid."))
    with pytest.raises(ApiError) as caught:
        client.jobs.create(teacher_id="tch_1", spec=SPEC)
    assert str(caught.value) == "Not valid. (/budget/steps: must be at least 1)"
    assert caught.value.errors[0].pointer == "/budget/steps"


@pytest.mark.parametrize("body", [b"<html>Bad gateway</html>", b"[1]", b"\xff\xfe", b'{"errors": [3]}'])
def test_a_proxy_that_speaks_no_json_is_understood(client: Client, server: Any, body: bytes) -> None:
    server.on("GET", "/capabilities", httpx2.Response(418, content=body))
    with pytest.raises(ApiError) as caught:
        client.capabilities()
    assert caught.value.code == "http_418"


def test_lists_every_page(client: Client, server: Any, fake: Any) -> None:
    def page(request: httpx2.Request) -> httpx2.Response:
        start = int(request.url.params.get("after", "job_0").removeprefix("job_"))
        ids = [f"job_{n}" for n in range(start + 1, min(start + 3, 6))]
        body = {"data": [fake.job(id=i) for i in ids], "has_more": ids[-1] != "job_5"}
        return httpx2.Response(200, json={**body, "first_id": ids[0], "last_id": ids[-1]})

    server.on("GET", "/jobs", page)
    jobs = client.jobs.list(status="queued", metadata={"team": "vision"}, page_size=2)
    assert next(jobs).id == "job_1"
    assert len(server.requests) == 1, "a page is fetched when it is needed"
    assert [job.id for job in jobs] == ["job_2", "job_3", "job_4", "job_5"]
    assert all(r.url.params["status"] == "queued" for r in server.requests)
    assert all(r.url.params["metadata[team]"] == "vision" for r in server.requests)


def test_waits_for_the_end(client: Client, server: Any, fake: Any) -> None:
    running = httpx2.Response(200, json=fake.job(status="running"))
    error = {"code": "diverged", "message": "No."}
    server.on(
        "GET",
        "/jobs/job_1",
        running,
        running,
        httpx2.Response(200, json=fake.job(status="failed", error=error)),
    )
    job = client.jobs.wait("job_1")
    assert (job.status, job.terminal, job.succeeded) == ("failed", True, False)
    assert job.error is not None
    assert job.error.code == "diverged"
    assert server.requests[0].headers["prefer"].startswith("wait=")
    assert len(server.sleeps) == 2, "a server that does not wait is not asked in a tight loop"


def test_waiting_has_an_end(client: Client, server: Any, fake: Any) -> None:
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job(status="running")))
    with pytest.raises(TimeoutError):
        client.jobs.wait("job_1", timeout_seconds=0.05)


def test_the_small_calls(client: Client, server: Any, fake: Any, tmp_path: Path) -> None:
    (tmp_path / "t.pt").write_bytes(b"weights")
    teacher = {"id": "tch_1", "status": "ready", "inspection": {"parameters": 3}}
    server.on("POST", "/teachers", httpx2.Response(201, json={**teacher, "status": "inspecting"}))
    server.on("GET", "/teachers/tch_1", httpx2.Response(200, json=teacher))
    server.on("POST", "/jobs/job_1/cancel", httpx2.Response(200, json=fake.job(status="cancelling")))
    server.on("GET", "/jobs/job_1/metrics", httpx2.Response(200, json={"data": [{"step": 1}]}))
    server.on(
        "GET", "/jobs/job_1/samples", httpx2.Response(200, json={"data": [fake.artifact(kind="samples")]})
    )
    server.on("GET", "/capabilities", httpx2.Response(200, json={"methods": []}))
    assert client.teachers.create(tmp_path / "t.pt", spec={"architecture": "lenet5"}).status == "inspecting"
    assert client.teachers.retrieve("tch_1").inspection == {"parameters": 3}
    assert client.jobs.cancel("job_1").status == "cancelling"
    assert client.jobs.metrics("job_1", points=5)["data"] == [{"step": 1}]
    assert server.sent("GET", "/jobs/job_1/metrics")[0].url.params["points"] == "5"
    assert client.jobs.samples("job_1")[0].kind == "samples"
    assert client.capabilities() == {"methods": []}


def test_checking_changing_and_forgetting(client: Client, server: Any, fake: Any, tmp_path: Path) -> None:
    (tmp_path / "t.pt").write_bytes(b"weights")
    done = httpx2.Response(200, json=fake.job())
    server.on("POST", "/jobs/validate", httpx2.Response(200, json={"estimate": None}))
    server.on("PATCH", "/jobs/job_1", done)
    server.on("POST", "/jobs/job_1/evaluations", done, REFUSED)
    server.on("DELETE", "/jobs/job_1", httpx2.Response(204))
    assert client.jobs.validate(tmp_path / "t.pt", spec=SPEC) == {"estimate": None}
    assert b"weights" in server.requests[-1].content
    client.jobs.validate(upload_id="upl_1", spec=SPEC)
    assert json.loads(server.requests[-1].content) == {**SPEC, "upload_id": "upl_1"}
    client.jobs.update("job_1", metadata={"team": "vision"})
    assert json.loads(server.requests[-1].content) == {"metadata": {"team": "vision"}}
    client.jobs.add_evaluation("job_1", data="ours", student=0.9)
    assert json.loads(server.requests[-1].content) == {"data": "ours", "student": 0.9}
    with pytest.raises(ConnectionFailed):
        client.jobs.add_evaluation("job_1", data="ours", student=0.9)
    assert len(server.sent("POST", "/jobs/job_1/evaluations")) == 2, "what adds is tried once"
    client.jobs.delete("job_1")


def test_measuring_after_the_end(client: Client, server: Any, fake: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("dfad_client.sync.jobs.MEASURED_PAUSE_SECONDS", 0.0)
    error = {"code": "bad_evaluation_data", "message": "No images."}
    waits, failed = (
        httpx2.Response(200, json=fake.job(measurement={"status": status, "filename": "a.npz", "error": why}))
        for status, why in (("waiting", None), ("failed", error))
    )
    server.on("POST", "/jobs/job_1/measure", REFUSED, waits)
    server.on("GET", "/jobs/job_1", waits, failed)
    asked = client.jobs.measure("job_1", upload_id="upl_1").measurement
    assert asked is not None
    assert asked.waits
    assert json.loads(server.requests[-1].content) == {"upload_id": "upl_1"}
    assert len(server.sent("POST", "/jobs/job_1/measure")) == 2, "it may be repeated"
    measured = client.jobs.wait_measured("job_1").measurement
    assert measured is not None
    assert (measured.status, measured.filename) == ("failed", "a.npz")
    assert measured.error is not None
    assert measured.error.code == "bad_evaluation_data"
    server.on("GET", "/jobs/job_1", waits)
    with pytest.raises(TimeoutError):
        client.jobs.wait_measured("job_1", timeout_seconds=0.0)


def test_the_environment_names_server_and_key(
    server: Any, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DFAD_BASE_URL", "http://elsewhere.test:9/")
    monkeypatch.setenv("DFAD_API_KEY", "k")
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job()))
    with Client() as client:
        assert client.base_url == "http://elsewhere.test:9"
        client.jobs.retrieve("job_1")
    assert server.requests[0].headers["authorization"] == "Bearer k"
    assert server.requests[0].url.host == "elsewhere.test"


@pytest.mark.parametrize("address", ["", "nonsense", "ftp://x", "http://", "http://[::1"])
def test_an_address_must_be_one(address: str) -> None:
    with pytest.raises(ConnectionFailed, match="is not an address"):
        Client(address or "/")
