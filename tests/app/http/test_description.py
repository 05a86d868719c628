"""What the service says of itself: OpenAPI, capabilities, health."""

from typing import Any

import pytest
from starlette.testclient import TestClient

OF_A_JOB = ("", "/events", "/metrics", "/samples", "/artifacts", "/student")
OTHERS = ("/jobs", "/artifacts/{artifact_id}", "/teachers", "/teachers/{teacher_id}")
ROUTES = {
    "get": [*(f"/jobs/{{job_id}}{p}" for p in OF_A_JOB), *OTHERS, "/capabilities", "/healthz", "/readyz"],
    "post": ["/jobs", "/jobs/validate", "/jobs/{job_id}/cancel", "/teachers"],
    "patch": ["/jobs/{job_id}"],
    "delete": ["/jobs/{job_id}"],
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
    bodies = schema["paths"]["/jobs"]["post"]["requestBody"]["content"]
    assert set(bodies) == {"multipart/form-data", "application/json"}
    for reference in references(schema):
        name = reference.removeprefix("#/components/schemas/")
        assert name in schema["components"]["schemas"], reference


def test_bounds_reach_the_schema(client: TestClient) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    steps = schemas["BudgetConfig"]["properties"]["steps"]
    assert (steps["minimum"], steps["maximum"]) == (1, 10_000_000)
    assert schemas["BudgetConfig"]["additionalProperties"] is False


def test_capabilities(client: TestClient) -> None:
    found = client.get("/capabilities").json()
    assert {m["name"] for m in found["methods"]} == {"auto", "dfad", "dfad_ar", "dfad_vi", "dfad_ar_vi"}
    assert "bn_weight" in found["methods"][0]["parameters"]["properties"]
    cnn8 = next(a for a in found["architectures"] if a["name"] == "cnn8")
    assert (cnn8["input_shape"], cnn8["args"]["width"]["le"]) == ([1, 8, 8], 512)
    assert found["devices"] == []


def test_readiness_needs_a_worker(client: TestClient) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert (answer.json()["checks"]["database"], answer.json()["checks"]["broker"]) == ("ok", "ok")
    from worker.reconciler import beat

    beat()
    assert client.get("/readyz").json()["status"] == "ready"
    assert client.get("/capabilities").json()["devices"] != []


@pytest.mark.parametrize("module", ["torch", "worker", "dfad_client"])
def test_the_server_loads_no(module: str) -> None:
    import subprocess
    import sys

    code = f"import app.main, sys; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, env={"PYTHONPATH": "."}).returncode == 0
