"""What the service says of itself: OpenAPI, capabilities, health."""

import json
import os
import re
import socket
import time
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.testclient import TestClient

from dfad_core.contract.methods import METHODS

SPEC_OF_THE_CONTRACT = """{
  "teacher": {"format": "auto", "architecture": "resnet34", "num_classes": 10,
              "input": {"shape": [3, 32, 32], "mean": [0.4914, 0.4822, 0.4465],
                        "std": [0.2470, 0.2435, 0.2616]}},
  "student": {"architecture": "resnet18", "args": {}},
  "method": {"name": "auto", "activation_weight": 0.1, "interpolation_weight": 1.0},
  "budget": {"steps": 2000, "max_runtime_seconds": 3600},
  "evaluation": {"upload_id": null},
  "exports": ["safetensors"],
  "device": "auto", "seed": 0, "priority": 0, "metadata": {"team": "vision"}
}"""
OF_A_JOB = ("", "/events", "/metrics", "/samples", "/artifacts", "/student")
OTHERS = (
    "/jobs",
    "/artifacts/{artifact_id}",
    "/teachers",
    "/teachers/{teacher_id}",
    "/uploads/{upload_id}",
    "/keys",
    "/audit",
    "/audit/export",
    "/usage",
    "/quotas",
    "/quotas/{tenant_id}",
    "/webhooks",
    "/webhooks/{webhook_id}",
    "/webhooks/{webhook_id}/deliveries",
    "/webhooks/{webhook_id}/deliveries/{delivery_id}",
)
ASKED_OF_A_JOB = ("cancel", "pause", "resume", "rerun", "evaluations", "measure")
OF_THE_SERVICE = ("/healthz", "/readyz", "/metrics")
ROUTES = {
    "get": [*(f"/jobs/{{job_id}}{p}" for p in OF_A_JOB), *OTHERS, "/capabilities", *OF_THE_SERVICE],
    "post": [
        *("/jobs", "/jobs/validate", "/teachers", "/keys", "/uploads", "/uploads/{upload_id}/complete"),
        "/keys/{key_id}/rotate",
        *(f"/jobs/{{job_id}}/{p}" for p in ASKED_OF_A_JOB),
        *("/webhooks", "/webhooks/{webhook_id}/test", "/webhooks/{webhook_id}/rotate-secret"),
        "/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
    ],
    "patch": ["/jobs/{job_id}", "/webhooks/{webhook_id}"],
    "put": ["/uploads/{upload_id}/parts/{number}", "/quotas/{tenant_id}"],
    "delete": [
        *("/jobs/{job_id}", "/keys/{key_id}", "/teachers/{teacher_id}", "/uploads/{upload_id}"),
        *("/webhooks/{webhook_id}", "/quotas/{tenant_id}"),
    ],
}


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        found = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return found.union(*(references(v) for v in node.values()))
    return set().union(*(references(v) for v in node)) if isinstance(node, list) else set()


def test_openapi_describes_every_route(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    described = {(path, method) for path, methods in schema["paths"].items() for method in methods}
    assert described == {(path, method) for method, paths in ROUTES.items() for path in paths}
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), (path, method)
            assert "application/problem+json" in operation["responses"]["default"]["content"]
    named = [one["operationId"] for methods in schema["paths"].values() for one in methods.values()]
    assert len(named) == len(set(named)) == len(described), "a generated client has a function of each"
    assert {"create_job", "retrieve_job", "list_jobs", "download_student", "put_part"} <= set(named)
    bodies = schema["paths"]["/jobs"]["post"]["requestBody"]["content"]
    assert set(bodies) == {"multipart/form-data", "application/json"}
    for reference in references(schema):
        kind, name = reference.removeprefix("#/components/").split("/")
        assert name in schema["components"][kind], reference


def template(schema: dict[str, Any], path: str) -> str:
    """The described path that `path` is one of; a fixed one before one with a parameter."""
    fits = [t for t in schema["paths"] if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", t), path)]
    return min(fits, key=lambda t: t.count("{"))


def assert_described(schema: dict[str, Any], answer: Any) -> None:
    """The answer is one that the description knows, and its JSON is as described."""
    request = answer.request
    operation = schema["paths"][template(schema, request.url.path)][request.method.lower()]
    described = operation["responses"].get(str(answer.status_code), operation["responses"]["default"])
    if answer.status_code in (204, 304):
        return
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in described["content"], (request.url.path, answer.status_code, kind)
    if kind.endswith("json"):
        described_as = {**described["content"][kind]["schema"], "components": schema["components"]}
        validator = Draft202012Validator(described_as, format_checker=Draft202012Validator.FORMAT_CHECKER)
        validator.validate(answer.json())


def test_answers_are_as_described(client: TestClient, submit: Any, finished: Any) -> None:
    schema = client.get("/openapi.json").json()
    created = submit({"metadata": {"a": "b"}}, teacher=b"PK\x03\x04" + b"x" * 100)
    job, key = created.json(), {"Idempotency-Key": "k"}
    webhook = client.post("/webhooks", json={"url": "https://hooks.example.com/", "events": ["job.*"]})
    hook = f"/webhooks/{webhook.json()['id']}"
    done = submit().json()["id"]
    finished(done)
    artifact = client.get(f"/jobs/{done}/artifacts").json()["data"][0]
    teacher, student = job["teacher"]["id"], {"student": {"architecture": "mlp8"}}
    answers = [
        created,
        webhook,
        *(client.get(p) for p in ("/webhooks", hook, f"{hook}/deliveries", "/webhooks/x")),
        *(client.post(f"{hook}/{p}") for p in ("test", "rotate-secret")),
        client.post("/webhooks", json={"url": "http://127.0.0.1/"}),
        *(client.get(f"/jobs/{i}{part}") for part in OF_A_JOB for i in (job["id"], done, "x")),
        *(client.get(p) for p in ("/jobs", "/teachers", "/capabilities", "/healthz", "/readyz")),
        *(client.get(p) for p in ("/jobs?limit=0", "/jobs?x=1", "/teachers?after=x", "/artifacts/x")),
        client.get(f"/teachers/{teacher}"),
        client.put("/quotas/vision", json={"queued_jobs": 1}),
        *(client.get(p) for p in ("/quotas", "/quotas/*", "/quotas/X", "/usage", "/usage?month=1")),
        client.delete("/quotas/vision"),
        client.get(artifact["url"]),
        client.get(artifact["url"], headers={"Range": "bytes=0-1"}),
        client.get(artifact["url"], headers={"Range": "bytes=99-"}),
        client.get(artifact["url"], headers={"If-None-Match": f'"{artifact["sha256"]}"'}),
        client.post("/jobs", json={**student, "teacher_id": teacher}, headers=key),
        client.post("/jobs", json={**student, "teacher_id": teacher, "seed": 1}, headers=key),
        client.post("/jobs", content=b"{", headers={"Content-Type": "application/json"}),
        client.post("/jobs/validate", json=student),
        client.post("/jobs/validate", json={"student": {"architecture": "x"}}),
        client.post("/teachers", files={"teacher": ("t", b"PK\x03\x04")}),
        client.post("/teachers", files={"teacher": ("t", b"")}),
        client.patch(f"/jobs/{done}", json={"metadata": {}}),
        client.patch(f"/jobs/{done}", json={"metadata": 1}),
        client.post(f"/jobs/{done}/cancel"),
        client.post(f"/jobs/{job['id']}/cancel"),
        client.delete(f"/jobs/{done}"),
        client.delete(f"/jobs/{done}"),
    ]
    for answer in answers:
        assert_described(schema, answer)
    seen = {answer.status_code for answer in answers}
    assert seen == {200, 201, 204, 206, 304, 400, 404, 409, 416, 422, 503}


def test_examples_of_the_contract_fit_the_described_bodies(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    spec = {"$ref": "#/components/schemas/JobSpec", "components": schema["components"]}
    for fine in ({"student": {"architecture": "resnet18", "args": {}}}, json.loads(SPEC_OF_THE_CONTRACT)):
        Draft202012Validator(spec).validate(fine)
        assert client.post("/jobs/validate", json=fine).status_code == 200
    for wrong in ({}, {"student": {"architecture": "x"}}, {"student": {"architecture": "mlp8"}, "x": 1}):
        assert not Draft202012Validator(spec).is_valid(wrong)
        assert client.post("/jobs/validate", json=wrong).status_code == 422


def test_shown_bodies_are_taken(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, methods in sorted(
        paths.items(), key=lambda item: item[0] == "/keys"
    ):  # the first key closes it
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content:
                ids = {f"{noun}_id": f"{noun[:3]}_{'0' * 32}" for noun in ("job", "key")}
                address = path.format(**ids, webhook_id=f"whk_{'0' * 32}", tenant_id="vision")
                answer = client.request(method, address, json=content["example"])
                assert answer.status_code in (200, 201, 404), (path, answer.text)


def test_choices_of_formats_reach_the_schema(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    exports = schemas["JobSpec"]["properties"]["exports"]
    assert exports["items"]["enum"] == ["safetensors", "onnx", "pt2", "int8", "huggingface"]
    assert exports["maxItems"] == 5
    teacher = schemas["TeacherSpec"]["properties"]["format"]["enum"]
    assert set(teacher) == {"auto", "safetensors", "state_dict_pt", "onnx", "huggingface"}


def test_bounds_reach_the_schema(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    steps = schemas["BudgetConfig"]["properties"]["steps"]
    assert (steps["minimum"], steps["maximum"]) == (1, 10_000_000)
    assert schemas["BudgetConfig"]["additionalProperties"] is False


def test_capabilities(client: TestClient) -> None:
    found = client.get("/capabilities").json()
    assert {m["name"] for m in found["methods"]} == set(METHODS)
    assert {"auto", "best", "dfad_ar_vi", "zskt", "nayer"} <= set(METHODS)
    assert "bn_weight" in found["methods"][0]["parameters"]["properties"]
    cnn8 = next(a for a in found["architectures"] if a["name"] == "cnn8")
    assert (cnn8["input_shape"], cnn8["args"]["width"]["le"]) == ([1, 8, 8], 512)
    formats = {row["name"]: row for row in found["file_formats"]}
    assert {name for name, row in formats.items() if row["reads"]} == set(found["formats"]["teacher"])
    assert {name for name, row in formats.items() if row["writes"]} == set(found["formats"]["student"])
    assert formats["int8"]["suffix"] == ".int8.onnx"
    # Where a class or a reader lies is nobody's business.
    assert "dfad_core." not in str([found["architectures"], found["file_formats"]])
    assert found["devices"] == []


def test_readiness_needs_a_worker(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert (answer.json()["checks"]["database"], answer.json()["checks"]["broker"]) == ("ok", "ok")
    from worker.heartbeat import beat

    beat()
    deadline = time.monotonic() + 30  # the watcher looks in its own time
    while client.get("/readyz").json()["status"] != "ready":
        assert time.monotonic() < deadline
        time.sleep(0.05)
    found = client.get("/capabilities").json()
    assert found["devices"] != []
    (worker,) = found["workers"]
    assert (worker["alive"], worker["name"]) == (True, f"{socket.gethostname()}:{os.getpid()}")
    assert 0 <= worker["seen_seconds_ago"] < 60


@pytest.mark.parametrize("module", ["torch", "worker", "dfad_client"])
def test_the_server_loads_no(module: str) -> None:
    import subprocess
    import sys

    code = f"import app.main, sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env={"PYTHONPATH": "."}).returncode == 0
