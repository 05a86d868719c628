"""Bodies and queries with more in them than anybody needs: refused at once, and in few words."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.http.json_body import parse_json
from tests.app.http.test_refusals import assert_problem

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
MANY = json.dumps({f"f{number}": 1 for number in range(80_000)})
PATHS = [
    ("POST", "/jobs"),
    ("POST", "/jobs/validate"),
    ("PATCH", "/jobs/x"),
    ("POST", "/jobs/x/evaluations"),
    ("POST", "/jobs/x/measure"),
    ("POST", "/teachers"),
    ("POST", "/uploads"),
    ("POST", "/webhooks"),
    ("PATCH", "/webhooks/x"),
    ("POST", "/keys"),
]


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("body", [MANY, '{"a": [' + ",".join(["[]"] * 200_000) + "]}"])
def test_more_fields_than_any_body_has(client: TestClient, method: str, path: str, body: str) -> None:
    answer = client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, 400, "malformed_json")
    assert "50000 fields" in answer.json()["detail"]
    assert len(answer.content) < 1000


@pytest.mark.parametrize("body", ["{}", '{"metadata": {}}', '{"student": {"layers": [{}]}}'])
def test_more_fields_than_any_object_has(client: TestClient, body: str) -> None:
    many = json.dumps({f"f{number}": 1 for number in range(300)})
    content = body.replace("{}", many)
    answer = client.post("/jobs/validate", content=content, headers={"Content-Type": "application/json"})
    assert_problem(answer, 400, "malformed_json")
    assert "256 fields" in answer.json()["detail"]


def test_a_spec_beside_a_file(submit: Callable[..., Any]) -> None:
    assert_problem(submit(MANY), 400, "malformed_json")


def test_an_answer_lists_twenty_faults_and_counts_the_rest(client: TestClient) -> None:
    answer = client.post("/keys", json={f"f{number}": number for number in range(200)} | {"name": "k"})
    assert_problem(answer, 422, "unknown_field", "/f0")
    assert len(answer.json()["errors"]) == 20
    assert "180 more" in answer.json()["detail"]
    few = client.post("/keys", json={f"f{number}": number for number in range(20)} | {"name": "k"}).json()
    assert len(few["errors"]) == 20
    assert "more" not in few["detail"]


def test_a_body_that_is_large_and_good_is_taken(client: TestClient) -> None:
    layers = [{"type": "relu"}] * 198 + [{"type": "flatten"}, {"type": "linear"}]
    metadata = {f"{number:02}" + "k" * 62: "," * 500 for number in range(16)}
    spec = {"student": {"layers": layers}, "metadata": metadata, "teacher": {"input": {"shape": [1, 8, 8]}}}
    answer = client.post("/jobs/validate", json=spec)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("classes", [1000, 21_843])
def test_a_configuration_names_its_classes(classes: int) -> None:
    names = {str(number): f"class {number}" for number in range(classes)}
    spec = {"teacher": {"transformers": {"model_type": "vit", "id2label": names}}}
    assert parse_json(json.dumps(spec).encode()) == spec


@pytest.mark.parametrize("fields", ["&" * 2**20, "a=1&" * 2**18, "&".join(["a"] * 300)])
@pytest.mark.parametrize("path", ["/ui/sign-in", "/ui/act", "/ui/webhooks"])
def test_a_form_of_too_many_fields(client: TestClient, path: str, fields: str) -> None:
    assert_problem(client.post(path, content=fields, headers=FORM), 413, "payload_too_large")


def test_a_form_of_too_many_parts(client: TestClient) -> None:
    parts = [(f"f{number}", (None, "x")) for number in range(300)]
    assert_problem(client.post("/ui/sign-in", files=parts), 400, "malformed_multipart")
    file = {"key": ("name", b"x" * 1000)}
    assert_problem(client.post("/ui/sign-in", files=file), 400, "malformed_multipart")


@pytest.mark.parametrize("path", ["/jobs", "/healthz", "/ui/sign-in", "/ui/compare"])
def test_a_query_of_too_many_parameters(client: TestClient, path: str) -> None:
    assert_problem(client.get(f"{path}?{'&'.join(['job=1'] * 300)}"), 422, "invalid_request")
