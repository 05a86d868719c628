"""Webhooks through the API: made, shown, changed, tested, refused; two tenants; what the log says."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from starlette.testclient import TestClient

URL = "https://hooks.example.com/in"
NOBODY = "whk_" + "0" * 32


def make(client: TestClient, headers: dict[str, str] | None = None, **asked: Any) -> Any:
    return client.post("/webhooks", json={"url": URL, **asked}, headers=headers)


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def test_from_its_making_to_its_end(client: TestClient, stored: Callable[[], dict[str, int]]) -> None:
    made = make(client, description="ours", metadata={"team": "a"})
    webhook = made.json()
    path = f"/webhooks/{webhook['id']}"
    assert (made.status_code, made.headers["location"]) == (201, path)
    assert made.headers["cache-control"] == "no-store"
    secret = webhook.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert webhook["events"] == ["job.succeeded", "job.failed", "job.cancelled"]
    assert (webhook["enabled"], webhook["disabled_reason"], webhook["metadata"]) == (
        True,
        None,
        {"team": "a"},
    )
    # Nowhere else is the secret shown.
    assert client.get(path).json() == client.get("/webhooks").json()["data"][0] == webhook
    changed = client.patch(path, json={"enabled": False, "events": ["job.*"], "url": URL + "/2"}).json()
    assert changed == webhook | {"enabled": False, "events": ["job.*"], "url": URL + "/2"}
    rotated = client.post(f"{path}/rotate-secret").json()
    assert rotated.pop("secret") != secret
    assert rotated == changed
    client.post(f"{path}/test")
    assert stored() == {"webhooks": 1, "webhook_deliveries": 1}
    assert client.delete(path).status_code == 204
    assert refusal(client.get(path)) == (404, "not_found")
    assert stored() == {}


def test_the_log(client: TestClient, submit: Any, finished: Any) -> None:
    from app.webhooks.delivery import claim_due, deliver
    from app.webhooks.sending import Outcome

    path = f"/webhooks/{make(client, events=['job.*']).json()['id']}"
    job_id = submit().json()["id"]
    finished(job_id)
    page = client.get(f"{path}/deliveries").json()
    events = {line["id"]: line["event"] for line in page["data"]}
    assert sorted(events.values()) == ["job.queued", "job.running", "job.succeeded"]
    assert {line["status"] for line in page["data"]} == {"pending"}
    assert (page["has_more"], page["last_id"]) == (False, page["data"][-1]["id"])
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    assert len(client.get(f"{path}/deliveries").json()["data"]) == 3
    (owed,) = claim_due(9)
    deliver(owed, lambda *_, **__: Outcome(503, "http_error", "60"))
    line = client.get(f"{path}/deliveries/{owed.id}").json()
    assert (line["event"], line["job_id"], line["attempts"]) == (events[owed.id], job_id, 1)
    assert (line["status"], line["response_status"], line["error_code"]) == ("pending", 503, "http_error")
    assert line["next_attempt_at"] > line["last_attempt_at"]
    again = client.post(f"{path}/deliveries/{owed.id}/redeliver").json()
    assert again["next_attempt_at"] < line["next_attempt_at"]
    while claimed := claim_due(9):
        deliver(claimed[0], lambda *_, **__: Outcome(200))
    done = {line["id"]: line for line in client.get(f"{path}/deliveries?status=delivered").json()["data"]}
    assert {i: line["attempts"] for i, line in done.items()} == dict.fromkeys(events, 1) | {owed.id: 2}
    assert {line["next_attempt_at"] for line in done.values()} == {None}
    first = client.get(f"{path}/deliveries?limit=2").json()
    rest = client.get(f"{path}/deliveries", params={"after": first["last_id"]}).json()
    assert [d["id"] for d in first["data"] + rest["data"]] == [d["id"] for d in page["data"]]


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://169.254.169.254/",
            "http://[::ffff:127.0.0.1]/",
            "http://0x7f000001/",
            "http://localhost./",
        ),
        *(
            "http://user:pass@example.com/",
            "file:///etc/passwd",
            "http://example.com:22/",
            "http://127.0.0.1/",
        ),
    ],
)
def test_urls_that_are_refused(client: TestClient, stored: Any, url: str) -> None:
    answer = make(client, url=url)
    assert refusal(answer) == (422, "webhook_url_refused")
    assert [e["pointer"] for e in answer.json()["errors"]] == ["/url"]
    assert stored() == {}
    path = f"/webhooks/{make(client).json()['id']}"
    assert refusal(client.patch(path, json={"url": url})) == (422, "webhook_url_refused")


@pytest.mark.parametrize(
    ("asked", "code", "pointer"),
    [
        ({"events": ["job.progress"]}, "invalid_request", "/events/0"),
        ({"events": []}, "invalid_request", "/events"),
        ({"url": 1}, "invalid_request", "/url"),
        ({"url": None}, "invalid_request", "/url"),
        ({"secret": "whsec_mine"}, "unknown_field", "/secret"),
        ({"description": "a\nb"}, "invalid_request", "/description"),
        ({"description": "a" * 257}, "invalid_request", "/description"),
        ({"metadata": {"a": 1}}, "invalid_request", "/metadata/a"),
    ],
)
def test_other_faults(client: TestClient, stored: Any, asked: Any, code: str, pointer: str) -> None:
    answer = make(client, **asked)
    assert refusal(answer) == (422, code)
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)
    assert stored() == {}


def test_what_there_is_not(client: TestClient) -> None:
    path = f"/webhooks/{make(client).json()['id']}"
    delivery = "dlv_" + "0" * 32
    for method, where in (
        *(("GET", NOBODY), ("PATCH", NOBODY), ("DELETE", NOBODY), ("GET", f"{NOBODY}/deliveries")),
        *(("POST", f"{NOBODY}/test"), ("POST", f"{NOBODY}/rotate-secret")),
    ):
        body = {"json": {}} if method == "PATCH" else {}
        assert refusal(client.request(method, f"/webhooks/{where}", **body)) == (404, "not_found")
    assert refusal(client.get(f"{path}/deliveries/{delivery}")) == (404, "not_found")
    assert refusal(client.post(f"{path}/deliveries/{delivery}/redeliver")) == (404, "not_found")
    assert refusal(client.get("/webhooks/x")) == (422, "invalid_id")
    assert refusal(client.get(f"{path}/deliveries/x")) == (422, "invalid_id")
    assert refusal(client.get("/webhooks?after=x")) == (422, "invalid_request")
    text = client.post("/webhooks", content=b"x", headers={"Content-Type": "text/plain"})
    assert refusal(text) == (415, "unsupported_media_type")


def test_one_key_makes_one(client: TestClient, stored: Any) -> None:
    key = {"Idempotency-Key": "k"}
    first, again = (make(client, key).json() for _ in range(2))
    assert first == again  # with the secret: the first answer may have been lost
    assert refusal(make(client, key, url=URL + "/2")) == (422, "idempotency_mismatch")
    path = f"/webhooks/{first['id']}/test"
    tests = [client.post(path, headers=key).json()["id"] for _ in range(2)]
    assert tests[0] == tests[1]
    other = make(client, url=URL + "/3").json()["id"]
    assert refusal(client.post(f"/webhooks/{other}/test", headers=key)) == (422, "idempotency_mismatch")
    assert stored() == {"webhooks": 2, "webhook_deliveries": 1}


def test_bounds(client: TestClient) -> None:
    from app.webhooks.service import MOST_OLD_SECRETS, MOST_TESTS, MOST_WEBHOOKS

    made = [make(client).json()["id"] for _ in range(MOST_WEBHOOKS)]
    refused = make(client)
    assert refusal(refused) == (429, "quota_exceeded")
    assert int(refused.headers["retry-after"]) > 0
    path = f"/webhooks/{made[0]}"
    assert [client.post(f"{path}/test").status_code for _ in range(MOST_TESTS)] == [201] * MOST_TESTS
    assert refusal(client.post(f"{path}/test")) == (429, "quota_exceeded")
    for _ in range(MOST_OLD_SECRETS):
        assert client.post(f"{path}/rotate-secret").status_code == 200
    assert refusal(client.post(f"{path}/rotate-secret")) == (409, "conflict")
    assert client.post(f"{path}/rotate-secret?overlap_hours=0").status_code == 200
    assert refusal(client.post(f"{path}/rotate-secret?overlap_hours=nan")) == (422, "invalid_request")


def test_two_tenants(database: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Neither sees the other's, a job is told to its own tenant's alone, and changing needs write."""
    monkeypatch.setenv("DFAD_API_KEY", "the-operators")
    client = request.getfixturevalue("client")

    def key(tenant: str, scope: str = "write") -> dict[str, str]:
        asked = {"name": "k", "tenant_id": tenant, "scopes": [scope]}
        made = client.post("/keys", json=asked, headers={"Authorization": "Bearer the-operators"})
        return {"Authorization": f"Bearer {made.json()['key']}"}

    ours, theirs, reader = key("ours"), key("theirs"), key("ours", "read")
    mine = make(client, ours, events=["job.*"]).json()["id"]
    other = make(client, theirs, events=["job.*"]).json()["id"]
    files = {
        "teacher": ("t.pt", b"PK\x03\x04weights"),
        "spec": (None, '{"student": {"architecture": "mlp8"}}'),
    }
    assert client.post("/jobs", files=files, headers=ours).status_code == 201
    assert [w["id"] for w in client.get("/webhooks", headers=theirs).json()["data"]] == [other]
    assert len(client.get(f"/webhooks/{mine}/deliveries", headers=ours).json()["data"]) == 1
    assert client.get(f"/webhooks/{other}/deliveries", headers=theirs).json()["data"] == []
    assert refusal(client.get(f"/webhooks/{mine}/deliveries", headers=theirs)) == (404, "not_found")
    assert refusal(client.delete(f"/webhooks/{mine}", headers=theirs)) == (404, "not_found")
    assert client.get(f"/webhooks/{mine}", headers=reader).status_code == 200
    for method, path in (
        ("POST", ""),
        ("PATCH", f"/{mine}"),
        ("DELETE", f"/{mine}"),
        ("POST", f"/{mine}/test"),
    ):
        assert refusal(client.request(method, f"/webhooks{path}", headers=reader)) == (403, "forbidden")
