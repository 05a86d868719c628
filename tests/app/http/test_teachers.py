"""Teachers by themselves."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from dfad_core.contract.inspection import Inspection
from dfad_core.contract.job_result import JobError
from dfad_core.contract.serialization import from_json


def post(client: TestClient, spec: str = "{}", content: bytes = b"PK\x03\x04weights") -> Any:
    return client.post("/teachers", files={"teacher": ("t.pt", content), "spec": (None, spec)})


def test_created_and_found(client: TestClient) -> None:
    answer = post(client, '{"architecture": "cnn8"}')
    assert answer.status_code == 201
    teacher = answer.json()
    assert answer.headers["location"] == f"/teachers/{teacher['id']}"
    assert (teacher["status"], teacher["filename"], teacher["bytes"]) == ("inspecting", "t.pt", 11)
    assert client.get(answer.headers["location"]).json() == teacher
    assert client.get("/teachers").json()["data"] == [teacher]


def test_refused(client: TestClient) -> None:
    assert post(client, content=b"").json()["code"] == "empty_file"
    assert post(client, '{"architecture": "x"}').json()["code"] == "unknown_architecture"
    assert client.post("/teachers", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.get("/teachers").json()["data"] == []


def test_a_rejected_teacher_takes_no_jobs(client: TestClient) -> None:
    from app.teachers.inspections import record_inspection

    teacher_id = post(client).json()["id"]
    record_inspection(teacher_id, JobError("corrupt_file", "damaged"))
    teacher = client.get(f"/teachers/{teacher_id}").json()
    assert (teacher["status"], teacher["error"]["code"]) == ("rejected", "corrupt_file")
    answer = client.post("/jobs", json={"teacher_id": teacher_id, "student": {"architecture": "mlp8"}})
    assert (answer.status_code, answer.json()["code"]) == (409, "teacher_rejected")


def test_one_key_makes_one_teacher(client: TestClient) -> None:
    def send(content: bytes = b"PK\x03\x04weights", key: str = "k") -> Any:
        files = {"teacher": ("t.pt", content)}
        return client.post("/teachers", files=files, headers={"Idempotency-Key": key})

    first, again, other = send(), send(), send(b"PK\x03\x04others")
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["location"] == first.headers["location"]
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert send(key="").json()["code"] == "invalid_request"
    assert len(client.get("/teachers").json()["data"]) == 1


def test_a_key_is_forgotten_after_a_day(client: TestClient) -> None:
    from datetime import timedelta

    from sqlalchemy import update

    from app.models import Teacher
    from app.platform.db import database_now, session_scope

    files, key = {"teacher": ("t.pt", b"PK\x03\x04")}, {"Idempotency-Key": "k"}
    first = client.post("/teachers", files=files, headers=key).json()
    with session_scope() as session:
        yesterday = database_now(session) - timedelta(hours=25)
        session.execute(update(Teacher).values(created_at=yesterday))
    assert client.post("/teachers", files=files, headers=key).json()["id"] != first["id"]


def test_a_job_is_held_to_what_is_known_of_its_teacher(client: TestClient) -> None:
    known = '{"architecture": "mlp8", "args": {"width": 8}}'
    teacher_id = post(client, known).json()["id"]

    def ask(student: str, **teacher: Any) -> Any:
        body = {"teacher_id": teacher_id, "student": {"architecture": student}, "teacher": teacher}
        dry, wet = client.post("/jobs/validate", json=body), client.post("/jobs", json=body)
        assert dry.json().get("code") == wet.json().get("code")
        return wet.json()

    assert ask("mlp8")["resolved_spec"]["teacher"]["args"] == {"width": 8}
    refused = ask("vgg11_bn")
    assert (refused["code"], refused["errors"][0]["pointer"]) == ("shape_mismatch", "/student")
    # Arguments belong to the architecture that they were given with.
    renamed = ask("lenet5", architecture="lenet5_half")["resolved_spec"]["teacher"]
    assert (renamed["architecture"], renamed["args"]) == ("lenet5_half", {})
    small = ask("mlp8", input={"shape": [1, 4, 4]})
    assert (small["code"], small["errors"][0]["pointer"]) == ("invalid_request", "/teacher/input/shape")


def test_a_student_is_held_to_the_inspected_input(client: TestClient) -> None:
    from app.teachers.inspections import record_inspection

    teacher_id = post(client).json()["id"]
    report = {"architecture": "mlp8", "num_classes": 10, "input": {"shape": [1, 8, 8]}}
    record_inspection(teacher_id, from_json(Inspection, report))
    body = {"teacher_id": teacher_id, "student": {"architecture": "lenet5"}}
    answer = client.post("/jobs", json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "shape_mismatch")
    job = client.post("/jobs", json={**body, "student": {"architecture": "cnn8"}}).json()
    assert job["teacher"]["architecture"] == "mlp8"
    assert job["teacher"]["input"]["shape"] == [1, 8, 8]
    assert (job["teacher"]["filename"], job["teacher"]["status"]) == ("t.pt", "ready")
    assert job["resolved_spec"]["teacher"]["architecture"] is None


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_job_that_cannot_end_in_time_is_refused_where_that_is_known(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, *, elsewhere: bool
) -> None:
    """Elsewhere a faster worker may take it: there it is the worker that refuses."""
    from app.teachers.inspections import record_inspection

    monkeypatch.setattr("app.jobs.estimate.has_gpu", lambda: elsewhere)
    monkeypatch.setattr("app.jobs.estimate.usable_processors", lambda: 1)
    teacher_id = post(client).json()["id"]
    timing = {"images": 2, "threads": 1, "forward_milliseconds": 800.0, "backward_milliseconds": 1600.0}
    report = {
        "architecture": "resnet34", "num_classes": 10, "input": {"shape": [3, 224, 224]}, "macs": 10**9,
        "bn_statistics": True, "timing": timing,
    }  # fmt: skip
    record_inspection(teacher_id, from_json(Inspection, report))

    def ask(**budget: float) -> Any:
        body = {"teacher_id": teacher_id, "student": {"architecture": "resnet18"}, "budget": budget}
        dry, wet = client.post("/jobs/validate", json=body), client.post("/jobs", json=body)
        assert (dry.status_code == 200) == (wet.status_code == 201)
        assert dry.json().get("code") == wet.json().get("code")
        return dry.json()

    late = ask(steps=10**5)
    if elsewhere:
        assert late["estimate"]["steps_in_time"] < 10**5
        return
    assert (late["code"], late["errors"][0]["pointer"]) == ("deadline_too_short", "/budget")
    assert "steps, or `train_seconds` of" in late["errors"][0]["detail"]
    assert 0 < ask(steps=1000)["estimate"]["steps_in_time"] < 1000  # the worker measures it
    assert "code" not in ask(steps=10**5, train_seconds=3600)
    assert "code" not in ask(steps=30_000, max_runtime_seconds=2_592_000)


def test_any_file_name_comes_back(client: TestClient) -> None:
    from sqlalchemy import select

    from app.models import Teacher
    from app.platform.db import read_scope

    for name in ("модель.pt", "a b.pt", "..", "C:\\x\\t.pt"):
        client.post("/teachers", files={"teacher": (name, b"PK\x03\x04")})
    names = [t["filename"] for t in client.get("/teachers").json()["data"]]
    assert names == ["t.pt", "..", "a b.pt", "модель.pt"]
    with read_scope() as session:
        query = select(Teacher.artifact_id).where(Teacher.filename == "модель.pt")
        artifact_id = session.scalars(query).one()
    header = client.get(f"/artifacts/{artifact_id}").headers["content-disposition"]
    assert header.startswith("attachment; filename=\"______.pt\"; filename*=UTF-8''%D0%BC")
