"""Jobs over HTTP: the happy paths and the rules of the contract."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from dfad_core.contract.job_result import JobError

Submit = Callable[..., Any]
Finished = Callable[..., None]


def claimed(job_id: str) -> Any:
    """The job taken by a worker, as it were."""
    from app.jobs.lifecycle import claim
    from app.platform.db import session_scope

    with session_scope() as session:
        return claim(session, job_id, "a-worker")


def test_created(client: TestClient, submit: Submit) -> None:
    answer = submit({"metadata": {"team": "vision"}, "seed": 3})
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['id']}" == job["urls"]["self"]
    assert (job["object"], job["status"], job["terminal"], job["attempt"]) == ("job", "queued", False, 0)
    assert job["queue_position"] == 1
    assert job["metadata"] == {"team": "vision"}
    asked = {"student": {"architecture": "mlp8"}, "budget": {"steps": 5}}
    assert job["spec"] == {**asked, "metadata": {"team": "vision"}, "seed": 3}
    resolved = job["resolved_spec"]
    assert (resolved["method"]["name"], resolved["budget"]["steps"], resolved["seed"]) == ("best", 5, 3)
    assert resolved["training"]["batch_size"] == 128
    assert client.get(answer.headers["location"]).json() == job


def test_the_message_waits_in_no_outbox(submit: Submit, stored: Callable[[], dict[str, int]]) -> None:
    submit()
    assert stored() == {"artifacts": 1, "artifact_chunks": 1, "teachers": 1, "jobs": 1, "job_events": 1}


def test_a_second_job_for_the_same_teacher(client: TestClient, submit: Submit) -> None:
    first = submit({"teacher": {"architecture": "cnn8"}}).json()
    body = {"teacher_id": first["teacher"]["id"], "student": {"architecture": "mlp8"}}
    second = client.post("/jobs", json=body)
    assert second.status_code == 201
    assert second.json()["teacher"]["id"] == first["teacher"]["id"]
    assert second.json()["resolved_spec"]["teacher"]["architecture"] == "cnn8"


def test_list_pages_and_filters(client: TestClient, submit: Submit) -> None:
    ids = [submit({"metadata": {"n": str(i % 2)}}).json()["id"] for i in range(5)][::-1]
    first = client.get("/jobs?limit=2").json()
    assert [j["id"] for j in first["data"]] == ids[:2]
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, ids[0], ids[1])
    rest = client.get(f"/jobs?limit=10&after={first['last_id']}").json()
    assert [j["id"] for j in rest["data"]] == ids[2:]
    assert rest["has_more"] is False
    odd = client.get("/jobs", params={"metadata[n]": "1"}).json()
    assert [j["id"] for j in odd["data"]] == [ids[1], ids[3]]
    client.post(f"/jobs/{ids[0]}/cancel")
    assert [j["id"] for j in client.get("/jobs?status=cancelled").json()["data"]] == [ids[0]]
    assert client.get("/jobs?status=running").json() == {
        "data": [], "has_more": False, "first_id": None, "last_id": None,
    }  # fmt: skip


def test_cancel_is_idempotent_and_says_when_it_is_too_late(
    client: TestClient, submit: Submit, finished: Finished
) -> None:
    queued = submit().json()["id"]
    assert client.post(f"/jobs/{queued}/cancel").json()["status"] == "cancelled"
    assert client.post(f"/jobs/{queued}/cancel").json()["status"] == "cancelled"
    running = submit().json()["id"]
    claimed(running)
    assert client.post(f"/jobs/{running}/cancel").json()["status"] == "cancelling"
    assert client.post(f"/jobs/{running}/cancel").json()["status"] == "cancelling"
    done = submit().json()["id"]
    finished(done)
    late = client.post(f"/jobs/{done}/cancel")
    assert (late.status_code, late.json()["code"]) == (409, "invalid_transition")
    assert "succeeded" in late.json()["detail"]


def test_delete_only_what_has_ended(
    client: TestClient, submit: Submit, stored: Callable[[], dict[str, int]], finished: Finished
) -> None:
    job_id = submit().json()["id"]
    early = client.delete(f"/jobs/{job_id}")
    assert (early.status_code, early.json()["code"]) == (409, "invalid_transition")
    finished(job_id)
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    assert client.get(f"/jobs/{job_id}").status_code == 404
    assert stored() == {"artifacts": 1, "artifact_chunks": 1, "teachers": 1}


def test_metadata_and_keep_can_be_replaced_and_nothing_else(client: TestClient, submit: Submit) -> None:
    job_id = submit({"metadata": {"a": "1"}}).json()["id"]
    assert client.patch(f"/jobs/{job_id}", json={"metadata": {"b": "2"}}).json()["metadata"] == {"b": "2"}
    assert client.patch(f"/jobs/{job_id}", json={"keep": True}).json()["keep"] is True
    refused = client.patch(f"/jobs/{job_id}", json={"status": "succeeded"})
    assert (refused.status_code, refused.json()["code"]) == (422, "unknown_field")
    empty = client.patch(f"/jobs/{job_id}", json={})
    assert (empty.status_code, empty.json()["code"]) == (422, "invalid_request")
    assert client.get(f"/jobs/{job_id}").json()["metadata"] == {"b": "2"}


def test_student_before_and_after_the_end(client: TestClient, submit: Submit, finished: Finished) -> None:
    job_id = submit().json()["id"]
    early = client.get(f"/jobs/{job_id}/student")
    assert (early.status_code, early.json()["code"]) == (409, "not_ready")
    finished(job_id)
    assert client.get(f"/jobs/{job_id}/student").content == b"student bytes"
    other = client.get(f"/jobs/{job_id}/student?format=onnx")
    assert (other.status_code, other.json()["code"]) == (422, "format_unavailable")
    cancelled = submit().json()["id"]
    client.post(f"/jobs/{cancelled}/cancel")
    none = client.get(f"/jobs/{cancelled}/student")
    assert (none.status_code, none.json()["code"]) == (409, "no_student")


@pytest.mark.parametrize(
    ("header", "status", "content"),
    [
        ("bytes=0-3", 206, b"stud"), ("bytes=8-", 206, b"bytes"), ("bytes=-5", 206, b"bytes"),
        ("bytes=0-999", 206, b"student bytes"), ("bytes=5-3", 200, b"student bytes"),
        ("bytes=0-1,3-4", 200, b"student bytes"), ("lines=0-1", 200, b"student bytes"),
        ("bytes=13-", 416, None), ("bytes=-0", 416, None),
    ],
)  # fmt: skip
def test_ranges(
    client: TestClient, submit: Submit, header: str, status: int, content: bytes | None, finished: Finished
) -> None:
    job_id = submit().json()["id"]
    finished(job_id)
    url = client.get(f"/jobs/{job_id}/artifacts").json()["data"][0]["url"]
    answer = client.get(url, headers={"Range": header})
    assert answer.status_code == status
    if content is None:
        assert answer.headers["content-range"] == "bytes */13"
        assert answer.json()["code"] == "range_not_satisfiable"
    else:
        assert answer.content == content
        assert int(answer.headers["content-length"]) == len(content)


def test_validators(client: TestClient, submit: Submit, finished: Finished) -> None:
    job_id = submit().json()["id"]
    finished(job_id)
    artifact = client.get(f"/jobs/{job_id}/artifacts").json()["data"][0]
    whole = client.get(artifact["url"])
    tag = whole.headers["etag"]
    assert tag == f'"{artifact["sha256"]}"'
    assert whole.headers["repr-digest"].startswith("sha-256=:")
    assert client.get(artifact["url"], headers={"If-None-Match": tag}).status_code == 304
    for known in ("*", f"W/{tag}", f'"x", {tag}'):
        assert client.get(artifact["url"], headers={"If-None-Match": known}).status_code == 304
    assert client.get(artifact["url"], headers={"If-None-Match": '"x"'}).status_code == 200
    ranged = {"Range": "bytes=0-3"}
    assert client.get(artifact["url"], headers={**ranged, "If-Range": tag}).status_code == 206
    assert client.get(artifact["url"], headers={**ranged, "If-Range": '"old"'}).status_code == 200


def test_idempotency(client: TestClient, submit: Submit) -> None:
    key = {"Idempotency-Key": "k1"}
    first = submit(headers=key)
    again = submit(headers=key)
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])
    for changed in (submit({"seed": 9}, headers=key), submit(teacher=b"PK\x03\x04other", headers=key)):
        assert (changed.status_code, changed.json()["code"]) == (422, "idempotency_mismatch")
    assert submit(headers={"Idempotency-Key": "k2"}).json()["id"] != first.json()["id"]
    assert submit(headers={"Idempotency-Key": "x" * 300}).status_code == 422
    assert len(client.get("/jobs").json()["data"]) == 2


def test_one_key_at_the_same_time(submit: Submit, client: TestClient) -> None:
    answers: list[Any] = []
    threads = [
        threading.Thread(target=lambda: answers.append(submit(headers={"Idempotency-Key": "race"})))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {a.status_code for a in answers} <= {201, 409}
    assert len(client.get("/jobs").json()["data"]) == 1


def test_events_by_cursor(client: TestClient, submit: Submit, finished: Finished) -> None:
    job_id = submit().json()["id"]
    finished(job_id)
    page = client.get(f"/jobs/{job_id}/events?limit=2").json()
    assert [e["type"] for e in page["data"]] == ["job.queued", "job.running"]
    assert (page["has_more"], page["last_seq"]) == (True, 2)
    rest = client.get(f"/jobs/{job_id}/events?after=2").json()
    assert [(e["seq"], e["type"]) for e in rest["data"]] == [(3, "job.succeeded")]
    assert rest["has_more"] is False


def stream(client: TestClient, job_id: str, **headers: str) -> list[dict[str, str]]:
    events = []
    with client.stream(
        "GET", f"/jobs/{job_id}/events", headers={"Accept": "text/event-stream", **headers}
    ) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for block in "".join(answer.iter_text()).replace("\r\n", "\n").split("\n\n"):
            fields = dict(
                line.split(": ", 1) for line in block.splitlines() if ": " in line and line[0] != ":"
            )
            if fields:
                events.append(fields)
    return events


def test_event_stream_ends_after_the_last_event(
    client: TestClient, submit: Submit, finished: Finished
) -> None:
    job_id = submit().json()["id"]
    ending = threading.Timer(0.8, finished, [job_id])
    ending.start()
    events = stream(client, job_id)
    ending.join()
    assert [(e["id"], e["event"]) for e in events] == [
        ("1", "job.queued"), ("2", "job.running"), ("3", "job.succeeded"),
    ]  # fmt: skip
    assert json.loads(events[2]["data"])["seq"] == 3
    resumed = stream(client, job_id, **{"Last-Event-ID": "2"})
    assert [e["id"] for e in resumed] == ["3"]
    forged = client.get(
        f"/jobs/{job_id}/events", headers={"Accept": "text/event-stream", "Last-Event-ID": "x"}
    )
    assert forged.status_code == 422


def test_long_poll_answers_on_change(client: TestClient, submit: Submit) -> None:
    job_id = submit().json()["id"]
    started = time.monotonic()
    change = threading.Timer(0.5, claimed, [job_id])
    change.start()
    answer = client.get(f"/jobs/{job_id}", headers={"Prefer": "wait=30"})
    change.join()
    assert answer.json()["status"] == "running"
    assert time.monotonic() - started < 25
    assert client.get(f"/jobs/{job_id}", headers={"Prefer": "wait=1"}).json()["status"] == "running"


def test_series_are_thinned_out(client: TestClient, submit: Submit) -> None:
    from app.models import JobMetric
    from app.platform.db import session_scope

    job_id = submit().json()["id"]
    with session_scope() as session:
        for step in range(1, 101):
            session.add(
                JobMetric(job_id=job_id, step=step, seconds=step / 10, series={"student_loss": 1 / step})
            )
    whole = client.get(f"/jobs/{job_id}/metrics").json()["data"]
    assert len(whole) == 100
    assert whole[0] == {"step": 1, "seconds": 0.1, "student_loss": 1.0}
    assert isinstance(whole[0]["step"], int)
    few = client.get(f"/jobs/{job_id}/metrics?points=10").json()["data"]
    assert [p["step"] for p in few] == list(range(10, 101, 10))


def test_validate_stores_nothing(client: TestClient, stored: Callable[[], dict[str, int]]) -> None:
    good = client.post("/jobs/validate", json={"student": {"architecture": "mlp8"}})
    assert good.json()["valid"] is True
    assert good.json()["resolved_spec"]["method"]["name"] == "best"
    assert good.json()["estimate"]["student_updates"] > good.json()["estimate"]["generator_updates"] > 0
    whole = {"teacher": ("t.pt", b"PK\x03\x04"), "spec": (None, '{"student": {"architecture": "mlp8"}}')}
    assert client.post("/jobs/validate", files=whole).json() == good.json()
    assert good.json()["estimate"]["teacher_seconds"] is None
    empty = client.post("/jobs/validate", files={**whole, "teacher": ("t.pt", b"")})
    assert (empty.status_code, empty.json()["code"]) == (422, "empty_file")
    other = client.post("/jobs/validate", content=b"{}", headers={"Content-Type": "text/plain"})
    assert (other.status_code, other.json()["code"]) == (415, "unsupported_media_type")
    bad = client.post("/jobs/validate", json={"student": {"architecture": "nope"}})
    assert (bad.status_code, bad.json()["code"]) == (422, "unknown_architecture")
    assert stored() == {}


def test_nothing_is_left_when_the_database_refuses(
    client: TestClient, submit: Submit, stored: Callable[[], dict[str, int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("app.jobs.service.lifecycle.submit", broken)
    assert submit().status_code == 500
    assert stored() == {}


def test_a_broker_that_is_away_delays_only(database: str, monkeypatch: pytest.MonkeyPatch,
                                           request: pytest.FixtureRequest) -> None:  # fmt: skip
    monkeypatch.setenv("DFAD_BROKER_URL", "redis://127.0.0.1:1/0")
    answer = request.getfixturevalue("submit")()
    assert answer.status_code == 201
    from app.models import OutboxMessage
    from app.platform.db import read_scope

    with read_scope() as session:
        assert session.scalars(select(OutboxMessage.subject_id)).all() == [answer.json()["id"]]


def test_a_cancelled_jobs_student_is_marked_partial(
    client: TestClient, submit: Submit, finished: Finished
) -> None:
    job_id = submit().json()["id"]
    finished(job_id, partial=True)
    answer = client.get(f"/jobs/{job_id}/student")
    assert (answer.status_code, answer.headers["dfad-partial"]) == (200, "true")
    job = client.get(f"/jobs/{job_id}").json()
    assert (job["status"], job["artifacts"][0]["partial"]) == ("cancelled", True)
    whole = submit().json()["id"]
    finished(whole)
    assert "dfad-partial" not in client.get(f"/jobs/{whole}/student").headers


def test_the_view_of_a_running_job(client: TestClient, submit: Submit) -> None:
    from app.jobs.lifecycle import update_held
    from app.platform.db import session_scope

    first, second = (submit({"budget": {"steps": 50}}).json()["id"] for _ in range(2))
    assert [client.get(f"/jobs/{i}").json()["queue_position"] for i in (first, second)] == [1, 2]
    held = claimed(first)
    with session_scope() as session:
        values = {"phase": "distilling", "step": 10, "total_steps": 50, "eta_seconds": 4.0}
        assert update_held(session, held, metrics={"student_loss": 0.5}, **values)
    job = client.get(f"/jobs/{first}").json()
    progress = {"step": 10, "total_steps": 50, "percent": 20.0, "eta_seconds": 4.0, "phase": None}
    assert job["progress"] == progress
    assert (job["status"], job["phase"], job["terminal"], job["attempt"]) == (
        "running", "distilling", False, 1,
    )  # fmt: skip
    assert (job["queue_position"], job["metrics"]) == (None, {"student_loss": 0.5})
    assert client.get(f"/jobs/{second}").json()["queue_position"] == 1
    posted = ("/cancel", "/pause", "/resume", "/rerun")
    for url in job["urls"].values():
        answer = client.request("POST" if url.endswith(posted) else "GET", url)
        assert answer.status_code in (200, 201, 409), url


def test_creation_can_wait_for_the_end(client: TestClient, submit: Submit) -> None:
    def run_what_comes() -> None:
        from app.jobs.lifecycle import fail
        from app.platform.db import session_scope

        while not (waiting := client.get("/jobs").json()["data"]):
            time.sleep(0.05)
        held = claimed(waiting[0]["id"])
        with session_scope() as session:
            fail(session, held, JobError("diverged", "not a number"))

    worker = threading.Thread(target=run_what_comes)
    worker.start()
    answer = submit(headers={"Prefer": "respond-async, wait=30"})
    worker.join()
    assert (answer.status_code, answer.json()["status"]) == (201, "failed")
    assert answer.json()["error"] == {"code": "diverged", "message": "not a number", "param": None}


def test_metadata_of_any_letters_can_be_found(client: TestClient, submit: Submit) -> None:
    for name in ("team", "a.b", "0", "it's", "größe", "a b", "$", "x/y", "%", 'a"b', "a\\b"):
        job_id = submit({"metadata": {name: "v"}}).json()["id"]
        found = client.get("/jobs", params={f"metadata[{name}]": "v"}).json()["data"]
        assert [job["id"] for job in found] == [job_id], name


def test_pause_and_resume(client: TestClient, submit: Submit) -> None:
    from app.jobs import lifecycle
    from app.platform.db import session_scope

    job_id = submit().json()["id"]
    held = claimed(job_id)
    for _ in range(2):
        assert client.post(f"/jobs/{job_id}/pause").json()["status"] == "pausing"
    early = client.post(f"/jobs/{job_id}/resume")
    assert (early.status_code, early.json()["code"]) == (409, "invalid_transition")
    assert "pausing" in early.json()["detail"]
    with session_scope() as session:
        assert lifecycle.paused(session, held)
    job = client.get(f"/jobs/{job_id}").json()
    assert (job["status"], job["terminal"], job["queue_position"]) == ("paused", False, None)
    for _ in range(2):
        assert client.post(f"/jobs/{job_id}/resume").json()["status"] == "queued"
    finished_id = submit().json()["id"]
    client.post(f"/jobs/{finished_id}/cancel")
    late = client.post(f"/jobs/{finished_id}/pause")
    assert (late.status_code, late.json()["code"]) == (409, "invalid_transition")


def test_rerun_is_a_new_job_for_the_same_teacher(
    client: TestClient, submit: Submit, finished: Finished
) -> None:
    spec = {"seed": 7, "priority": 3, "device": "cpu", "metadata": {"team": "vision"}}
    first = submit(spec).json()
    finished(first["id"])
    key = {"Idempotency-Key": "again"}
    answers = [client.post(f"/jobs/{first['id']}/rerun", headers=key) for _ in range(2)]
    assert [a.status_code for a in answers] == [201, 201]
    again = answers[0].json()
    assert again["id"] == answers[1].json()["id"] != first["id"]
    assert answers[0].headers["location"] == f"/jobs/{again['id']}"
    assert (again["status"], again["attempt"], again["result"]) == ("queued", 0, None)
    for name in ("spec", "resolved_spec", "metadata"):
        assert again[name] == first[name], name
    assert again["teacher"]["id"] == first["teacher"]["id"]
    other = client.post(f"/jobs/{again['id']}/rerun", headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


def test_places_in_the_queue_are_those_of_the_turns(client: TestClient, submit: Submit) -> None:
    ids = [submit({"priority": p}).json()["id"] for p in (0, 5, 0)]
    assert [client.get(f"/jobs/{i}").json()["queue_position"] for i in ids] == [2, 1, 3]


@pytest.mark.services
def test_the_main_calls_on_postgresql(
    postgres: str, home: Any, monkeypatch: pytest.MonkeyPatch, finished: Finished
) -> None:
    from app.main import create_app

    monkeypatch.setenv("DFAD_DATABASE_URL", postgres)
    home.mkdir()
    spec = {"student": {"architecture": "mlp8"}, "metadata": {"a.b": "v", "it's": "w", 'größe"': "x"}}
    files = {"teacher": ("t.pt", b"PK\x03\x04" + b"x" * 3_000_000), "spec": (None, json.dumps(spec))}
    key = {"Idempotency-Key": "k"}
    with TestClient(create_app()) as client:
        first = client.post("/jobs", files=files, headers=key)
        assert first.status_code == 201, first.text
        job_id = first.json()["id"]
        assert client.post("/jobs", files=files, headers=key).json()["id"] == job_id
        for query, count in (
            ("metadata[a.b]=v", 1),
            ("metadata[it's]=w", 1),
            ("metadata[a.b]=w", 0),
            ('metadata[größe"]=x', 1),
        ):
            assert len(client.get(f"/jobs?{query}").json()["data"]) == count, query
        assert client.get("/jobs?metadata[a]=%00").status_code == 422
        finished(job_id)
        assert [e["id"] for e in stream(client, job_id)] == ["1", "2", "3"]
        assert client.get(f"/jobs/{job_id}/student", headers={"Range": "bytes=-5"}).content == b"bytes"
        assert client.get(f"/jobs/{job_id}/metrics?points=10").json()["data"] == []
        assert (
            client.post("/teachers", files={"teacher": ("t", b"PK\x03\x04")}, headers=key).status_code == 201
        )
        assert len(client.get("/teachers").json()["data"]) == 2
        assert client.delete(f"/jobs/{job_id}").status_code == 204


def test_progress_after_training_promises_no_end(client: TestClient, submit: Submit) -> None:
    from app.jobs.lifecycle import update_held
    from app.platform.db import session_scope

    job_id = submit({"budget": {"steps": 50}}).json()["id"]
    held = claimed(job_id)
    with session_scope() as session:
        counted = {"done": 512, "total": 4096, "unit": "images"}
        values = {"step": 50, "total_steps": 50, "percent": 100.0, "eta_seconds": 31.0}
        assert update_held(session, held, phase="evaluating", phase_progress=counted, **values)
    assert client.get(f"/jobs/{job_id}").json()["progress"] == {
        "step": 50, "total_steps": 50, "percent": 99.0, "eta_seconds": 31.0,
        "phase": {**counted, "percent": 12.5},
    }  # fmt: skip


def test_progress_of_a_budget_in_seconds(client: TestClient, submit: Submit) -> None:
    from app.models import Job
    from app.platform.db import session_scope

    job_id = submit({"budget": {"steps": 1_000_000, "train_seconds": 40}}).json()["id"]
    assert client.get(f"/jobs/{job_id}").json()["progress"]["percent"] == 0
    with session_scope() as session:
        job = session.get_one(Job, job_id)
        job.step, job.percent = 100, 75.0
    assert client.get(f"/jobs/{job_id}").json()["progress"]["percent"] == 75


def test_job_and_event_agree_where_the_steps_are_done_before_the_time(
    client: TestClient, submit: Submit
) -> None:
    """500 of 1,000 steps after 20 of 100 s: tried, the event said 20 % and the job 50 %."""
    from app.leases.records import record_progress
    from dfad_core.contract.progress import Progress

    job_id = submit({"budget": {"steps": 1000, "train_seconds": 100}}).json()["id"]
    report = Progress(step=500, total_steps=1000, seconds=20.0, eta_seconds=20.0, fraction=0.2)
    record_progress(claimed(job_id), report)
    event = client.get(f"/jobs/{job_id}/events").json()["data"][-1]
    job = client.get(f"/jobs/{job_id}").json()
    assert (event["type"], event["data"]["percent"]) == ("progress", 50.0)
    assert job["progress"]["percent"] == report.percent == 50.0


def test_a_result_and_an_inspection_of_an_earlier_version_are_shown(
    client: TestClient, submit: Submit
) -> None:
    from app.models import Job, Teacher
    from app.platform.db import session_scope

    job = submit().json()
    with session_scope() as session:
        row = session.get_one(Job, job["id"])
        row.status = "cancelled"
        row.result = {"compression": 3, "movers": 1, "evaluation": {}, "student": {"architecture": "mlp8"}}
        teacher = session.get_one(Teacher, job["teacher"]["id"])
        teacher.status = "ready"
        teacher.inspection = {
            "architecture": "mlp8",
            "num_classes": 3,
            "input": {"shape": [1, 8, 8]},
            "of_old": 1,
        }
    result = client.get(f"/jobs/{job['id']}").json()["result"]
    assert (result["compression"], result["student"]["architecture"]) == (3.0, "mlp8")
    assert (result["evaluation"], result["training"]["steps"]) == (None, 0)
    assert client.get(f"/ui/jobs/{job['id']}").status_code == 200
    inspection = client.get(f"/teachers/{job['teacher']['id']}").json()["inspection"]
    assert inspection["input"] == {"shape": [1, 8, 8], "mean": None, "std": None}
    assert inspection["notes"] == []
    assert client.get(f"/ui/new?teacher={job['teacher']['id']}").status_code == 200
