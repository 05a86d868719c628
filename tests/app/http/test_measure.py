"""Labelled images that come after a job's end: which are taken, and what clients see of it."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from sqlalchemy import select
from starlette.testclient import TestClient

from app.jobs import measurements
from app.jobs.measurements import (
    MeasurementClaim,
    claim_measurement,
    fail,
    finish,
    give_back,
    renew,
)
from app.models import Artifact, Job, Teacher
from app.platform.db import database_now, read_scope, session_scope
from app.platform.ids import new_id
from app.storage import get_store
from dfad_core.contract.job_result import Accuracy, JobError

ACCURACY = Accuracy(0.9, 0.8, 10, "10 labelled images (npz)", ("A note.",), {"onnx": 0.8})


@pytest.fixture
def job_id(submit: Any, finished: Any) -> str:
    """Of a job with a student."""
    made = submit().json()["id"]
    finished(made)
    return str(made)


def upload(client: TestClient, content: bytes = b"images") -> str:
    digest = hashlib.sha256(content).digest()
    about = {"filename": "test.npz", "bytes": len(content), "sha256": digest.hex()}
    upload_id = client.post("/uploads", json=about).json()["id"]

    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
    }
    client.put(f"/uploads/{upload_id}/parts/1", content=content, headers=headers)
    assert client.post(f"/uploads/{upload_id}/complete").status_code == 200
    return str(upload_id)


def ask(client: TestClient, job_id: str, upload_id: str) -> Any:
    return client.post(f"/jobs/{job_id}/measure", json={"upload_id": upload_id})


def kinds(job_id: str) -> list[str]:
    with read_scope() as session:
        return sorted(session.scalars(select(Artifact.kind).where(Artifact.job_id == job_id)))


def claimed(owner: str = "w") -> MeasurementClaim:
    claim = claim_measurement(owner)
    assert claim is not None
    return claim


def report(claim: MeasurementClaim, content: bytes = b"<html>") -> Artifact:
    artifact_id = new_id("art")
    stored = get_store().put(artifact_id, [content])
    with read_scope() as session:
        now = database_now(session)
    return Artifact(
        id=artifact_id, tenant_id=claim.tenant_id, job_id=claim.job_id, kind="report", created_at=now,
        filename="report_measured.html", media_type="text/html", bytes=stored.bytes, sha256=stored.sha256,
        details={},
    )  # fmt: skip


def test_from_the_request_to_the_figures(client: TestClient, job_id: str) -> None:
    assert client.get(f"/jobs/{job_id}").json()["measurement"] is None
    assert claim_measurement("w") is None
    answer = ask(client, job_id, upload(client))
    assert answer.status_code == 202, answer.text
    waiting = answer.json()["measurement"]
    assert (waiting["status"], waiting["filename"], waiting["error"]) == ("waiting", "test.npz", None)
    assert kinds(job_id) == ["labelled", "student"]
    listed = client.get(f"/jobs/{job_id}/artifacts").json()["data"]
    assert [one["kind"] for one in listed] == ["student"], "nobody sees the images"
    claim = claimed()
    assert claim.job_id == job_id
    assert claim_measurement("another") is None
    assert renew(claim)
    assert finish(claim, ACCURACY, report(claim))
    job = client.get(f"/jobs/{job_id}").json()
    assert job["measurement"]["status"] == "succeeded"
    assert job["result"]["accuracy"]["exports"] == {"onnx": 0.8}
    assert job["result"]["compression"] == 4.0
    assert kinds(job_id) == ["report", "student"], "the images are deleted"
    assert client.get(f"/jobs/{job_id}/events").json()["data"][-1]["data"]["code"] == "measured"
    assert not renew(claim)


def test_a_new_report_takes_the_place_of_the_old(client: TestClient, job_id: str) -> None:
    for content in (b"one", b"two"):
        assert ask(client, job_id, upload(client, content)).status_code == 202
        claim = claimed()
        assert finish(claim, ACCURACY, report(claim, content))
    (artifact,) = [a for a in client.get(f"/jobs/{job_id}").json()["artifacts"] if a["kind"] == "report"]
    assert client.get(artifact["url"]).content == b"two"


def test_the_same_images_are_measured_once(client: TestClient, job_id: str) -> None:
    upload_id = upload(client)
    first = ask(client, job_id, upload_id).json()["measurement"]
    assert ask(client, job_id, upload_id).json()["measurement"] == first
    assert ask(client, job_id, upload(client)).json()["measurement"] == first, "the same bytes"
    assert kinds(job_id).count("labelled") == 1
    claim = claimed()
    assert finish(claim, ACCURACY, report(claim))
    assert ask(client, job_id, upload_id).json()["measurement"]["status"] == "succeeded"
    assert claim_measurement("w") is None


def test_a_failed_measurement_says_why_and_may_be_tried_again(client: TestClient, job_id: str) -> None:
    upload_id = upload(client)
    ask(client, job_id, upload_id)
    assert fail(claimed(), JobError("bad_evaluation_data", "The labelled data cannot be read."))
    job = client.get(f"/jobs/{job_id}").json()
    assert (job["status"], job["measurement"]["status"]) == ("succeeded", "failed")
    assert job["measurement"]["error"]["code"] == "bad_evaluation_data"
    assert job["result"]["accuracy"] is None
    assert kinds(job_id) == ["student"]
    assert ask(client, job_id, upload_id).json()["measurement"]["status"] == "waiting"


def test_a_lost_claim_writes_nothing(client: TestClient, job_id: str) -> None:
    ask(client, job_id, upload(client))
    lost = claimed("one")
    give_back(lost)
    claim = claimed("another")
    assert not finish(lost, ACCURACY, report(lost))
    assert not fail(lost, JobError("hung", "No."))
    assert client.get(f"/jobs/{job_id}").json()["result"]["accuracy"] is None
    assert finish(claim, ACCURACY, report(claim))


def test_images_that_end_their_workers_are_given_up(
    client: TestClient, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measurements, "_expires", lambda now: now)  # every claim is over at once
    ask(client, job_id, upload(client))
    give_back(claimed())
    assert [claimed().attempt for _ in range(3)] == [1, 2, 3]
    assert claim_measurement("w") is None
    found = client.get(f"/jobs/{job_id}").json()["measurement"]
    assert (found["status"], found["error"]["code"]) == ("failed", "worker_lost")
    assert kinds(job_id) == ["student"], "the images are deleted"
    assert ask(client, job_id, upload(client)).status_code == 202


def test_other_images_wait_until_the_first_are_measured(client: TestClient, job_id: str) -> None:
    ask(client, job_id, upload(client))
    refused = ask(client, job_id, upload(client, b"others"))
    assert (refused.status_code, refused.json()["code"]) == (409, "measurement_waits")
    assert "test.npz" in refused.json()["detail"]


def test_a_job_that_has_not_ended(client: TestClient, submit: Any) -> None:
    refused = ask(client, submit().json()["id"], upload(client))
    assert (refused.status_code, refused.json()["code"]) == (409, "invalid_transition")


def test_a_job_without_a_student(client: TestClient, submit: Any) -> None:
    job_id = submit().json()["id"]
    client.post(f"/jobs/{job_id}/cancel")
    refused = ask(client, job_id, upload(client))
    assert (refused.status_code, refused.json()["code"]) == (409, "no_student")


def test_a_job_without_its_teacher(client: TestClient, job_id: str) -> None:
    with session_scope() as session:
        teacher = session.get_one(Teacher, session.get_one(Job, job_id).teacher_id)
        teacher.deleted_at = database_now(session)
    refused = ask(client, job_id, upload(client))
    assert (refused.status_code, refused.json()["code"]) == (409, "teacher_deleted")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/upload_id"),
        ({"upload_id": "x"}, "/upload_id"),
        ({"upload_id": f"upl_{'0' * 32}"}, "/upload_id"),
        ({"upload_id": f"upl_{'0' * 32}", "more": 1}, "/more"),
    ],
)
def test_bad_requests(client: TestClient, job_id: str, body: dict[str, Any], pointer: str) -> None:
    answer = client.post(f"/jobs/{job_id}/measure", json=body)
    assert answer.status_code == 422
    assert [e["pointer"] for e in answer.json()["errors"]] == [pointer]


def test_a_job_may_be_deleted_meanwhile(client: TestClient, job_id: str) -> None:
    ask(client, job_id, upload(client))
    claim = claimed()
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    assert not renew(claim)
    assert not fail(claim, JobError("hung", "No."))
