"""Values that a database cannot hold or compare are refused on both databases, and never end in a 5xx."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.app.http.test_refusals import assert_problem

HUGE = str(2**63)
JOB = f"job_{'0' * 32}"


@pytest.fixture
def client(each_database: str) -> Iterator[TestClient]:
    """A client of the service, on SQLite and on PostgreSQL."""
    from app.main import create_app

    with TestClient(create_app(), raise_server_exceptions=False) as made:
        yield made


def test_many_conditions(client: TestClient) -> None:
    def ask(number: int, name: str = "k{}") -> Any:
        return client.get("/jobs", params=[(f"metadata[{name.format(n)}]", "v") for n in range(number)])

    assert ask(16).status_code == 200
    for many in (ask(17), ask(250), ask(250, "k")):
        assert_problem(many, 422, "invalid_request", "/metadata")
    assert ask(998).status_code == 422
    assert client.get("/jobs", params=[("status", "queued")] * 200).status_code == 200


QUERIES: list[tuple[str, dict[str, Any]]] = [
    ("/jobs", {"limit": HUGE}),
    ("/jobs", {"after": "job_\0"}),
    ("/jobs", {"after": "x" * 10_000}),
    ("/jobs", {"status": "\0"}),
    ("/jobs", {"metadata[a]": "\0"}),
    ("/jobs", {"metadata[\0]": "a"}),
    ("/jobs", {"metadata[a]": "\ud800".encode("utf-8", "surrogatepass")}),
    ("/jobs", {"metadata[a]": "x" * 10_000}),
    (f"/jobs/{JOB}/events", {"after": HUGE}),
    (f"/jobs/{JOB}/events", {"after": "-1"}),
    (f"/jobs/{JOB}/events", {"limit": HUGE}),
    (f"/jobs/{JOB}/metrics", {"points": HUGE}),
    ("/audit", {"limit": HUGE}),
    ("/audit", {"after": "\0"}),
    ("/keys", {"after": "\0"}),
    ("/teachers", {"after": "\0"}),
    ("/webhooks", {"after": "\0"}),
    (f"/webhooks/whk_{'0' * 32}/deliveries", {"status": "\0"}),
    (f"/ui/jobs/{JOB}/log", {"before": HUGE}),
    ("/", {"status": "\0", "label": "a=\0", "after": "\0"}),
    ("/ui/jobs", {"label": "\0=\0"}),
    ("/ui/new", {"teacher": "\0"}),
    ("/ui/compare", {"job": ["\0"] * 200}),
    ("/ui/delete", {"job": ["\0"] * 200}),
    ("/ui/sign-in", {"next": "\0"}),
    ("/usage", {"month": "\0"}),
    ("/usage", {"month": "0000-01"}),
    ("/usage", {"since_month": "9999-12", "after": "\0"}),
]
PATHS = [
    "/jobs/{}", "/jobs/{}/events", "/jobs/{}/students/{}", "/jobs/{}/samples", "/teachers/{}", "/uploads/{}",
    "/artifacts/{}", "/webhooks/{}", "/webhooks/{}/deliveries", "/keys/{}", "/quotas/{}", "/ui/jobs/{}",
    "/ui/jobs/{}/live", "/ui/jobs/{}/log", "/ui/webhooks/{}", "/ui/teachers/{}",
]  # fmt: skip
ODD_PARTS = ["%00", "job_%00", "%ED%A0%80", "9" * 5000]
BODIES: list[tuple[str, dict[str, Any]]] = [
    ("/keys", {"name": "k", "expires_at": "9999-12-31T23:59:59-14:00"}),
    ("/keys", {"name": "k", "expires_at": "0001-01-01T00:00:00+14:00"}),
    ("/keys", {"name": "k", "expires_at": 10**15}),
    ("/uploads", {"filename": "t", "bytes": 2**63, "sha256": "0" * 64}),
    ("/uploads", {"filename": "t\0", "bytes": 1, "sha256": "0" * 64}),
    ("/webhooks", {"url": "https://example.com/" + "x" * 100_000}),
    (f"/jobs/{JOB}/evaluations", {"data": "d", "images": 2**63, "student": 0.5}),
    ("/jobs/validate", {"student": {"architecture": "mlp8"}, "seed": 2**63}),
    ("/jobs/validate", {"student": {"architecture": "mlp8", "args": {"width": 2**63}}}),
]
FORMS: list[tuple[str, dict[str, Any]]] = [
    ("/ui/webhooks", {"url": "https://example.com/\0", "description": "\0", "key": "\0", "events": "\0"}),
    ("/ui/act", {"action": "cancel", "job": ["\0", "%ED%A0%80"]}),
    ("/ui/act", {"action": "\0"}),
    ("/ui/sign-in", {"key": "\0", "next": "\0"}),
    (f"/ui/jobs/{JOB}/cancel", {}),
    ("/ui/jobs/%00/cancel", {}),
]
HEADERS = ["Idempotency-Key", "Last-Event-ID", "Prefer", "traceparent", "Content-Digest"]
ODD_HEADERS = ["9" * 20_000, "\x7f\xff", "wait=99999999999999999999"]


def test_queries(client: TestClient) -> None:
    for path, parameters in QUERIES:
        assert client.get(path, params=parameters).status_code < 500, (path, parameters)


@pytest.mark.parametrize("odd", ODD_PARTS)
def test_paths(client: TestClient, odd: str) -> None:
    for path in PATHS:
        for method in ("GET", "DELETE", "POST"):
            answer = client.request(method, path.replace("{}", odd), headers={"Prefer": "wait=1"})
            assert answer.status_code < 500, (method, path)


def test_bodies(client: TestClient) -> None:
    for path, body in BODIES:
        assert 400 <= client.post(path, json=body).status_code < 500, (path, body)


def test_forms(client: TestClient) -> None:
    for path, form in FORMS:
        assert client.post(path, data=form).status_code < 500, (path, form)


def test_headers(client: TestClient) -> None:
    for name in HEADERS:
        for value in ODD_HEADERS:
            headers = {name: value.encode("latin-1"), "Accept": "text/event-stream"}
            for method, path in (
                ("GET", f"/jobs/{JOB}/events"),
                ("GET", f"/jobs/{JOB}"),
                ("POST", "/jobs/x/rerun"),
            ):
                assert client.request(method, path, headers=headers).status_code < 500, (name, value)
            part = client.put(f"/uploads/upl_{'0' * 32}/parts/1", content=b"x", headers=headers)
            assert part.status_code < 500, (name, value)
