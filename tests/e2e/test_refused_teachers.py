"""Bad teachers from the upload to the job's error: the HTTP edge, an attempt and a real runner.

The edge looks at a file's first bytes, and refuses what no reader takes; only a runner opens the rest, and it
comes back as failed jobs.
"""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from starlette.testclient import TestClient

from app.jobs import lifecycle
from app.platform.db import session_scope
from app.teachers.inspections import InspectionClaim
from dfad_core.networks import build_classifier
from tests.dfad_core.formats.test_one_logit import FILES, folder
from worker import inspection
from worker.attempt_runner import Attempt
from worker.database_service import DatabaseService

SMALL = {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8, "threads": 1}
SPEC = {
    "teacher": {"architecture": "cnn8"},
    "student": {"architecture": "mlp8", "args": {"width": 8}},
    "budget": {"steps": 3},
    "training": SMALL,
}


def inspect_teacher(teacher_id, **more):
    """Of a worker that holds the database."""
    claim = InspectionClaim(teacher_id, "local", "w1")
    return inspection.inspect_teacher(claim, DatabaseService(), **more)


@pytest.fixture
def client(database):
    """The service over an empty database."""
    from app.main import create_app

    with TestClient(create_app()) as test_client:
        yield test_client


@pytest.fixture
def run(client):
    """Submits a file, runs one attempt and gives the finished job."""

    def play(content: bytes, name: str = "teacher.pt", **changes):
        files = {"teacher": (name, content), "spec": (None, json.dumps(SPEC | changes))}
        answer = client.post("/jobs", files=files)
        assert answer.status_code == 201, answer.text
        job_id = answer.json()["id"]
        with session_scope() as session:
            claim = lifecycle.claim(session, job_id, "w1")
        Attempt(claim, lambda: False).run()
        return client.get(f"/jobs/{job_id}").json()

    return play


class Trap:
    """Unpickling it makes the folder TRAP."""

    trap = ""

    def __reduce__(self):
        return os.mkdir, (self.trap,)


def saved(folder: Path, value: object) -> bytes:
    torch.save(value, folder / "saved")
    return (folder / "saved").read_bytes()


def cnn8(classes: int = 10) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return build_classifier(
        "cnn8", num_classes=classes, input_shape=(1, 8, 8), args={"width": 4}
    ).state_dict()


def assert_failed(job, client, code: str, *words: str) -> None:
    assert (job["status"], job["error"]["code"], job["attempt"]) == ("failed", code, 1)
    assert all(word in job["error"]["message"] for word in words), job["error"]
    assert "/" not in job["error"]["message"].replace("/save", "")
    teacher = client.get(f"/teachers/{job['teacher']['id']}").json()
    assert (teacher["status"], teacher["error"]["code"]) == ("rejected", code)
    student = client.get(f"/jobs/{job['id']}/student")
    assert (student.status_code, student.json()["code"]) == (409, "no_student")


TEXT = b"these are not weights\n" * 50


def test_a_text_file_named_pt_is_refused_at_the_upload(client):
    files = {"teacher": ("teacher.pt", TEXT), "spec": (None, json.dumps(SPEC))}
    for path in ("/jobs", "/jobs/validate", "/teachers"):
        given = files if path != "/teachers" else {"teacher": files["teacher"]}
        answer = client.post(path, files=given)
        assert (answer.status_code, answer.json()["code"]) == (422, "unsupported_format"), path
        (problem,) = answer.json()["errors"]
        assert problem["pointer"] == "/teacher"
        assert "The file is text, not a safetensors file" in problem["detail"]
    assert client.get("/jobs").json()["data"] == client.get("/teachers").json()["data"] == []


def test_an_archive_of_something_else(run, client):
    """Its first bytes are those of a state dict; what is in it only the reader sees."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("readme.txt", TEXT)
    assert_failed(run(file.getvalue()), client, "unsupported_format")


def test_a_pickle_that_would_run_code(run, client, tmp_path, monkeypatch):
    monkeypatch.setattr(Trap, "trap", str(tmp_path / "sprung"))
    assert_failed(run(saved(tmp_path, {"w": Trap()})), client, "unsafe_pickle")
    assert_failed(run(pickle.dumps(Trap())), client, "unsafe_pickle")
    assert not (tmp_path / "sprung").exists()


def test_the_wrong_architecture(run, client, tmp_path):
    job = run(saved(tmp_path, cnn8()), teacher={"architecture": "resnet20", "input": {"shape": [1, 8, 8]}})
    assert_failed(job, client, "architecture_mismatch", "missing: ", "unexpected: ")


def test_the_wrong_number_of_classes(run, client, tmp_path):
    job = run(saved(tmp_path, cnn8()), teacher={"architecture": "cnn8", "num_classes": 7})
    assert_failed(job, client, "architecture_mismatch", "linear.weight [10, 32] instead of [7, 32]")


@pytest.mark.parametrize("name", ["state dict", "probability (B,)", "zip"])
def test_one_logit(run, client, tmp_path, name):
    """Inspected and trained as a classifier of two classes, and one class may be named."""
    FILES[name][1](tmp_path / "teacher")
    content = (tmp_path / "teacher").read_bytes()
    job = run(content, teacher={"num_classes": 1})
    assert (job["status"], job["error"]) == ("succeeded", None)
    made = client.post("/teachers", files={"teacher": ("t", content)}).json()
    assert inspect_teacher(made["id"]) == "ready"
    inspection = client.get(f"/teachers/{made['id']}").json()["inspection"]
    assert inspection["num_classes"] == 2
    assert any("[0, z]" in note for note in inspection["notes"])


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_another_problem(run, client, tmp_path, problem):
    """With the same code and words from a job and from an inspection, before anything is trained."""
    folder(tmp_path / "teacher", packed="zip", problem_type=problem)
    content = (tmp_path / "teacher").read_bytes()
    job = run(content, teacher={})
    made = client.post("/teachers", files={"teacher": ("t", content)}).json()
    assert inspect_teacher(made["id"]) == "rejected"
    teacher = client.get(f"/teachers/{made['id']}").json()
    assert teacher["error"] == client.get(f"/teachers/{job['teacher']['id']}").json()["error"]
    assert teacher["error"]["code"] in ("multi_label", "not_a_classifier")


def test_a_student_larger_than_its_teacher_is_a_warning(run, client, tmp_path):
    save_file(cnn8(), tmp_path / "t.safetensors")
    content = (tmp_path / "t.safetensors").read_bytes()
    job = run(content, student={"architecture": "mlp8", "args": {"width": 128}})
    assert (job["status"], job["error"]) == ("succeeded", None)
    events = client.get(f"/jobs/{job['id']}/events?limit=1000").json()["data"]
    warnings = [e["data"] for e in events if e["type"] == "warning"]
    assert [w["code"] for w in warnings] == ["student_larger_than_teacher"]
    assert warnings[0]["student_parameters"] > warnings[0]["teacher_parameters"]
    assert job["result"]["student"]["parameters"] == warnings[0]["student_parameters"]
    assert client.get(f"/teachers/{job['teacher']['id']}").json()["status"] == "ready"
    assert client.get(f"/jobs/{job['id']}/student").status_code == 200


def test_a_job_that_calls_the_teacher_something_else_does_not_reject_it(run, client, tmp_path):
    first = run(saved(tmp_path, cnn8()))
    assert first["status"] == "succeeded"
    other = {"architecture": "mlp8", "args": {"width": 8}, "input": {"shape": [1, 8, 8]}}
    body = {**SPEC, "teacher": other, "teacher_id": first["teacher"]["id"]}
    job_id = client.post("/jobs", json=body).json()["id"]
    with session_scope() as session:
        claim = lifecycle.claim(session, job_id, "w1")
    assert Attempt(claim, lambda: False).run() == "failed"
    assert client.get(f"/jobs/{job_id}").json()["error"]["code"] == "architecture_mismatch"
    assert client.get(f"/teachers/{first['teacher']['id']}").json()["status"] == "ready"
