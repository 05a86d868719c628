"""Every route, walked by one tenant with the ids of another."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

SPEC: dict[str, Any] = {"student": {"architecture": "mlp8"}, "metadata": {"secret": "sesame"}}
BODIES = {"patch": {"metadata": {}}, "post": {"student": {"architecture": "mlp8"}}}
SENT = {
    ("post", "/keys/{key_id}/rotate"): {},
    ("post", "/keys"): {"name": "k"},
    ("post", "/teachers"): None,
    ("post", "/jobs/{job_id}/evaluations"): {"data": "d", "student": 0.5},
    ("post", "/jobs/{job_id}/measure"): {"upload_id": f"upl_{'0' * 32}"},
    ("post", "/webhooks"): {"url": "https://hooks.example.com/"},
    ("post", "/uploads"): {"filename": "f", "bytes": 4, "sha256": "0" * 64},
}
PART = {
    "Content-Type": "application/octet-stream",
    "Content-Digest": "sha-256=:BO+vt0ls01pJIR/zo4nKhWmYNmxRa4LOYWQHhBP0Xpw=:",
}


@pytest.fixture
def tenants(database: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    """The client and the headers of two tenants, each an admin of its own."""
    monkeypatch.setenv("DFAD_API_KEY", "the-operators")
    client = request.getfixturevalue("client")

    def headers(tenant: str) -> dict[str, str]:
        asked = {"name": "k", "tenant_id": tenant, "scopes": ["admin"]}
        made = client.post("/keys", json=asked, headers={"Authorization": "Bearer the-operators"}).json()
        ids.append(made["id"])
        return {"Authorization": f"Bearer {made['key']}"}

    ids: list[str] = []
    return client, headers("ours"), headers("theirs"), ids


Ids = dict[str, str]


@pytest.fixture
def things(tenants: Any, finished: Callable[..., None]) -> Ids:
    """What the first tenant has: a value for every parameter of a path."""
    client, ours, _, keys = tenants
    files = {
        "teacher": ("sesame.pt", b"PK\x03\x04weights"),
        "spec": (None, json.dumps(SPEC), "application/json"),
    }
    job = client.post("/jobs", files=files, headers=ours).json()
    finished(job["id"])
    artifact = client.get(f"/jobs/{job['id']}/artifacts", headers=ours).json()["data"][0]["id"]
    upload = client.post("/uploads", json={"filename": "f", "bytes": 4, "sha256": "0" * 64}, headers=ours)
    asked = {"url": "https://hooks.example.com/sesame"}
    hook = client.post("/webhooks", json=asked, headers=ours).json()["id"]
    return {
        "webhook_id": hook,
        "delivery_id": client.post(f"/webhooks/{hook}/test", headers=ours).json()["id"],
        "upload_id": upload.json()["id"],
        "number": "1",
        "job_id": job["id"],
        "teacher_id": job["teacher"]["id"],
        "artifact_id": artifact,
        "key_id": keys[0],
        "tenant_id": "ours",
    }


def routes(client: Any, ids: Ids) -> Iterator[tuple[str, str, str]]:
    """Method, template and address of every route."""
    for path, operations in client.app.openapi()["paths"].items():
        filled = path
        for name, value in ids.items():
            filled = filled.replace(f"{{{name}}}", value)
        assert "{" not in filled, f"this test knows no id for {path}"
        for method in operations:
            yield method, path, filled


def send(client: Any, method: str, path: str, filled: str, headers: dict[str, str]) -> Any:
    """The route, with a body where it takes one."""
    body = {"json": SENT.get((method, path), BODIES[method])} if method in BODIES else {}
    if method == "put":
        body = {"content": b"four"}
        headers = headers | PART
    return client.request(method.upper(), filled, headers=headers, **body)


def test_every_route(tenants: Any, things: Ids) -> None:
    client, ours, theirs, _ = tenants
    ids = things
    secrets = [value for name, value in ids.items() if name not in ("number", "tenant_id")]
    walked = 0
    for method, path, filled in routes(client, ids):
        answer = send(client, method, path, filled, theirs)
        walked += 1
        if path.startswith("/quotas"):  # of names that an operator gives: nothing tells whether they exist
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (method, path)
        elif filled != path:
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, path)
        if path.startswith("/audit"):  # their own requests, with the ids they tried
            lines = [json.loads(line) for line in answer.text.splitlines()]
            events = lines[0]["data"] if path == "/audit" else lines
            assert {event["tenant_id"] for event in events} == {"theirs"}
            continue
        text = answer.text.replace(filled, "")
        assert not any(value in text for value in (*secrets, "sesame")), (method, path)
    assert walked > 25
    assert client.get(f"/jobs/{ids['job_id']}", headers=ours).json()["status"] == "succeeded"
    # Named in a body instead of a path.
    asked = {"student": {"architecture": "mlp8"}, "teacher_id": ids["teacher_id"]}
    by_upload = {"student": {"architecture": "mlp8"}, "upload_id": ids["upload_id"]}
    for path in ("/jobs", "/jobs/validate"):
        assert client.post(path, json=asked, headers=theirs).status_code == 404
        assert client.post(path, json=by_upload, headers=theirs).status_code == 404
    begun = {"architecture": "mlp8", "init_from": {"artifact_id": ids["artifact_id"]}}
    for more in ({"student": begun}, {"evaluation": {"upload_id": ids["upload_id"]}}):
        files = {
            "teacher": ("t.pt", b"\x80\x02"),
            "spec": (None, json.dumps({**SPEC, **more}), "application/json"),
        }
        refused = client.post("/jobs", files=files, headers=theirs)
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
    assert client.post("/teachers", json={"upload_id": ids["upload_id"]}, headers=theirs).status_code == 404
    assert client.get(f"/jobs?after={ids['job_id']}", headers=theirs).json()["data"] == []


def test_the_name_of_another_tenant_opens_no_route(tenants: Any, things: Ids) -> None:
    client, ours, theirs, _ = tenants
    before = client.get(f"/jobs/{things['job_id']}", headers=ours).json()
    for other in ("ours", "*", "local"):
        for method, path, filled in routes(client, things):
            if path in ("/healthz", "/readyz"):  # open to all, and nobody's
                continue
            refused = send(client, method, path, filled, theirs | {"DFAD-Tenant": other})
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), (method, path)
    assert client.get(f"/jobs/{things['job_id']}", headers=ours).json() == before


def test_the_operator_with_a_tenants_name_gets_what_it_gets(tenants: Any, things: Ids) -> None:
    client, ours, *_ = tenants
    operator = {"Authorization": "Bearer the-operators"}
    seen = 0
    for method, path, filled in routes(client, things):
        if path in ("/healthz", "/readyz", "/metrics") or path.startswith("/quotas"):  # no tenant's
            continue
        if filled != path:  # nothing of ours is there for who acts for another
            answer = send(client, method, path, filled, operator | {"DFAD-Tenant": "theirs"})
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, path)
        if method == "get":
            mine, acted = (
                send(client, method, path, filled, headers)
                for headers in (ours, operator | {"DFAD-Tenant": "ours"})
            )
            assert (acted.status_code, acted.content) == (mine.status_code, mine.content), path
            seen += mine.status_code == 200 and len(mine.content) > 100
    assert seen > 10


def test_a_doubled_idempotency_key_is_no_bridge(tenants: Any) -> None:
    client, ours, theirs, _ = tenants
    spec = {"student": {"architecture": "mlp8"}}
    files = {"teacher": ("t.pt", b"PK\x03\x04weights"), "spec": (None, json.dumps(spec), "application/json")}
    key = {"Idempotency-Key": "same"}
    first, second = (client.post("/jobs", files=files, headers=who | key).json() for who in (ours, theirs))
    assert first["id"] != second["id"]
