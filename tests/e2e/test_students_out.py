"""What a user asks of the student and gets: through the HTTP edge, an attempt and a real runner.

Guards: exports, targets, layers, first weights, the user's labelled data and the manifest, from the spec to
the bytes that are downloaded; and that a job run again gives the same bytes in every format.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from starlette.testclient import TestClient

from app.jobs import lifecycle
from app.platform.db import session_scope
from worker.attempt_runner import Attempt

TEACHER = (Path(__file__).parents[2] / "examples" / "digits" / "teacher.safetensors").read_bytes()
SMALL = {
    "budget": {"steps": 5},
    "training": {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8, "threads": 1},
}


@pytest.fixture
def client(database: str) -> Iterator[TestClient]:
    from app.main import create_app

    with TestClient(create_app()) as client:
        yield client


def upload(client: TestClient, data: bytes, name: str) -> str:
    about = {"filename": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    made = client.post("/uploads", json=about).json()
    digest = base64.b64encode(hashlib.sha256(data).digest()).decode()
    headers = {"Content-Type": "application/octet-stream", "Content-Digest": f"sha-256=:{digest}:"}
    client.put(f"/uploads/{made['id']}/parts/1", content=data, headers=headers).raise_for_status()
    client.post(f"/uploads/{made['id']}/complete").raise_for_status()
    return str(made["id"])


def submit(client: TestClient, **spec: Any) -> Any:
    files = {"teacher": ("t.safetensors", TEACHER), "spec": (None, json.dumps({**SMALL, **spec}))}
    return client.post("/jobs", files=files)


def run(client: TestClient, job_id: str) -> Any:
    with session_scope() as session:
        claim = lifecycle.claim(session, job_id, "w1")
    assert claim is not None
    Attempt(claim, lambda: False).run()
    return client.get(f"/jobs/{job_id}").json()


def digits(count: int = 60) -> bytes:
    data, buffer = load_digits(), io.BytesIO()
    pixels = (data.images[-count:] / 16 * 255).astype(np.uint8)
    np.savez_compressed(buffer, images=pixels, labels=data.target[-count:])
    return buffer.getvalue()


def test_everything_at_once_and_the_same_again(client: TestClient) -> None:
    asked = {
        "student": {"target": {"max_parameters": 3000}},
        "exports": ["onnx", "pt2", "int8"],
        "evaluation": {"upload_id": upload(client, digits(), "digits.npz")},
    }
    answer = submit(client, **asked)
    assert answer.status_code == 201, answer.text
    job = run(client, answer.json()["id"])
    assert (job["status"], job["error"]) == ("succeeded", None)
    assert job["result"]["student"]["parameters"] <= 3000
    assert job["result"]["student_chosen"]["architecture"] == "cnn8"
    assert job["result"]["accuracy"]["teacher"] > 0.9
    assert job["result"]["accuracy"]["images"] == 60
    assert sum(job["result"]["class_histogram"]) == 256
    made = {artifact["kind"]: artifact for artifact in job["artifacts"]}
    assert set(made) == {"student", "student_onnx", "student_pt2", "student_int8", "report", "manifest"}
    for kind in ("onnx", "pt2", "int8"):
        content = client.get(f"/jobs/{job['id']}/student", params={"format": kind}).content
        assert hashlib.sha256(content).hexdigest() == made[f"student_{kind}"]["sha256"]
        assert job["result"]["exports"][kind]["bytes"] == len(content)

    manifest = client.get(f"/artifacts/{made['manifest']['id']}").json()
    assert manifest["teacher"]["sha256"] == hashlib.sha256(TEACHER).hexdigest()
    assert manifest["inputs"][0]["sha256"] == hashlib.sha256(digits()).hexdigest()
    listed = {artifact["kind"]: artifact["sha256"] for artifact in manifest["artifacts"]}
    assert all(listed[kind] == artifact["sha256"] for kind, artifact in made.items() if kind != "manifest")
    assert manifest["repeatable"]

    report = client.get(f"/artifacts/{made['report']['id']}").text
    assert "On 60 labelled images (npz)" in report
    assert "same class on" in report
    assert 'src="http' not in report

    again = client.post("/jobs", json={**manifest["spec"], "teacher_id": manifest["teacher"]["id"]}).json()
    same = {a["kind"]: a["sha256"] for a in run(client, again["id"])["artifacts"]}
    assert all(same[kind] == made[kind]["sha256"] for kind in made if kind.startswith("student"))

    rerun = client.post(f"/jobs/{job['id']}/rerun").json()
    assert run(client, rerun["id"])["result"]["accuracy"] == job["result"]["accuracy"]
    client.delete(f"/jobs/{job['id']}").raise_for_status()
    assert client.get(f"/artifacts/{made['student_onnx']['id']}").status_code == 404


def test_a_student_of_transformers(client: TestClient) -> None:
    config = {"model_type": "resnet", "embedding_size": 4, "hidden_sizes": [4, 8], "depths": [1, 1]}
    student = {"transformers": {**config, "layer_type": "basic"}}
    answer = submit(client, student=student, exports=["huggingface", "onnx"])
    assert answer.status_code == 201, answer.text
    job = run(client, answer.json()["id"])
    assert (job["status"], job["error"]) == ("succeeded", None)
    assert job["result"]["student"]["architecture"] == "transformers"
    assert {name: "error" in found for name, found in job["result"]["exports"].items()} == {
        "huggingface": False,
        "onnx": False,
    }
    got = client.get(f"/jobs/{job['id']}/student", params={"format": "huggingface"})
    assert zipfile.ZipFile(io.BytesIO(got.content)).namelist()[0] == "config.json"
    # What cannot be is refused before anything is stored, and what only a worker sees ends the job.
    for wrong, pointer in (
        ({"student": {"transformers": {"model_type": "bert"}}}, "/student/transformers/model_type"),
        ({"student": {"architecture": "mlp8"}, "exports": ["huggingface"]}, "/exports"),
        ({"student": {"architecture": "transformers"}}, "/student/architecture"),
    ):
        refused = submit(client, **wrong)
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["pointer"] == pointer
    unknown = submit(client, student={"transformers": {**config, "no_such": 1}}).json()["id"]
    failed = run(client, unknown)
    assert (failed["status"], failed["error"]["code"]) == ("failed", "invalid_config")


def test_layers_and_first_weights(client: TestClient) -> None:
    layers = [
        {"type": "conv", "channels": 6},
        {"type": "batch_norm"},
        {"type": "relu"},
        {"type": "max_pool"},
        {"type": "flatten"},
        {"type": "linear"},
    ]
    first = run(client, submit(client, student={"layers": layers}).json()["id"])
    assert first["status"] == "succeeded", first["error"]
    assert first["result"]["student"]["architecture"] == "layers"
    student = next(a["id"] for a in first["artifacts"] if a["kind"] == "student")
    begun = {"layers": layers, "init_from": {"artifact_id": student}}
    second = run(client, submit(client, student=begun).json()["id"])
    assert second["result"]["student_init"]["missing"] == []
    # The student of one job is a teacher for another one.
    content = client.get(f"/jobs/{first['id']}/student").content
    taught = client.post(
        "/jobs",
        files={
            "teacher": ("s", content),
            "spec": (None, json.dumps({**SMALL, "student": {"architecture": "mlp8"}})),
        },
    )
    assert run(client, taught.json()["id"])["status"] == "succeeded"


@pytest.mark.parametrize(
    ("spec", "data", "code", "param"),
    [
        ({"student": {"architecture": "mlp8"}}, b"no data at all", "bad_evaluation_data", "evaluation"),
        ({"student": {"target": {"max_parameters": 3}}}, None, "target_unreachable", "student.target"),
        ({"student": {"layers": [{"type": "linear"}]}}, None, "invalid_config", "layers.0"),
    ],
)
def test_what_only_the_worker_can_see_fails_the_job_by_name(
    client: TestClient, spec: dict[str, Any], data: bytes | None, code: str, param: str
) -> None:
    if data is not None:
        spec = {**spec, "evaluation": {"upload_id": upload(client, data, "x")}}
    job = run(client, submit(client, **spec).json()["id"])
    assert (job["status"], job["error"]["code"], job["error"]["param"]) == ("failed", code, param)
    assert client.get(f"/teachers/{job['teacher']['id']}").json()["status"] != "rejected"


def test_a_format_that_was_not_asked_for(client: TestClient) -> None:
    job = run(client, submit(client, student={"architecture": "mlp8"}).json()["id"])
    answer = client.get(f"/jobs/{job['id']}/student", params={"format": "onnx"})
    assert (answer.status_code, answer.json()["code"]) == (422, "format_unavailable")
