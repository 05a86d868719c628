"""Teachers by themselves."""

from typing import Any

from starlette.testclient import TestClient


def post(client: TestClient, spec: str = "{}", content: bytes = b"weights") -> Any:
    return client.post("/teachers", files={"teacher": ("t.pt", content), "spec": (None, spec)})


def test_created_and_found(client: TestClient) -> None:
    answer = post(client, '{"architecture": "cnn8"}')
    assert answer.status_code == 201
    teacher = answer.json()
    assert answer.headers["location"] == f"/teachers/{teacher['id']}"
    assert (teacher["status"], teacher["filename"], teacher["bytes"]) == ("inspecting", "t.pt", 7)
    assert client.get(answer.headers["location"]).json() == teacher
    assert client.get("/teachers").json()["data"] == [teacher]


def test_refused(client: TestClient) -> None:
    assert post(client, content=b"").json()["code"] == "empty_file"
    assert post(client, '{"architecture": "x"}').json()["code"] == "unknown_architecture"
    assert client.post("/teachers", json={}).status_code == 415
    assert client.get("/teachers").json()["data"] == []


def test_a_rejected_teacher_takes_no_jobs(client: TestClient) -> None:
    from worker.inspection import record_inspection

    teacher_id = post(client).json()["id"]
    record_inspection(teacher_id, {"error": {"code": "corrupt_file", "message": "damaged"}})
    teacher = client.get(f"/teachers/{teacher_id}").json()
    assert (teacher["status"], teacher["error"]["code"]) == ("rejected", "corrupt_file")
    answer = client.post("/jobs", json={"teacher_id": teacher_id, "student": {"architecture": "mlp8"}})
    assert (answer.status_code, answer.json()["code"]) == (409, "teacher_rejected")
