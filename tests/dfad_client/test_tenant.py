"""The operator's client and command line: for one tenant, or looking at all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from dfad_client import AsyncClient, Client


def headers(server: Any) -> list[str | None]:
    return [request.headers.get("DFAD-Tenant") for request in server.requests]


def test_a_client_acts_for_its_tenant(server: Any, fake: Any) -> None:
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job(tenant_id="vision")))
    server.on("POST", "/jobs/job_1/cancel", httpx2.Response(200, json=fake.job()))
    with Client(tenant="vision") as client:
        assert client.jobs.retrieve("job_1").tenant_id == "vision"
        assert client.jobs.cancel("job_1").tenant_id is None  # of an earlier server
    with Client() as client:
        client.jobs.retrieve("job_1")

    async def ask() -> None:
        async with AsyncClient(tenant="*") as client:
            await client.jobs.retrieve("job_1")

    asyncio.run(ask())
    assert headers(server) == ["vision", "vision", None, "*"]


def test_every_command_that_asks_a_server_takes_it(run: Any, server: Any, fake: Any) -> None:
    page = {"data": [], "has_more": False, "first_id": None, "last_id": None}
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job()))
    server.on("POST", "/jobs", httpx2.Response(201, json=fake.job()))
    server.on("GET", "/keys", httpx2.Response(200, json=page))
    assert run("show", "job_1", "--tenant", "vision").exit_code == 0
    submitted = run("submit", "t.pt", "--student", "cnn8", "--tenant", "vision")
    assert "dfad watch job_1 --tenant vision" in submitted.stderr
    assert run("keys", "list", "--tenant", "vision").exit_code == 0
    assert run("show", "job_1", "--tenant", "*").exit_code == 0
    assert headers(server) == ["vision", "vision", "vision", "*"]


def test_a_new_key_is_still_made_for_its_tenant(run: Any, server: Any) -> None:
    made = {"id": "key_1", "tenant_id": "vision", "scopes": ["read"], "key": "dfad_x"}
    server.on("POST", "/keys", httpx2.Response(201, json=made))
    assert run("keys", "create", "ci", "--tenant", "vision").exit_code == 0
    assert json.loads(server.requests[0].content)["tenant_id"] == "vision"
    assert headers(server) == [None]


@pytest.mark.parametrize(
    "option", [("--all-tenants",), ("--tenant", "*"), ("--all-tenants", "--tenant", "*")]
)
def test_jobs_of_all_tenants(run: Any, server: Any, fake: Any, option: tuple[str, ...]) -> None:
    jobs = [fake.job(tenant_id="vision"), fake.job(id="job_2", tenant_id="nlp"), fake.job(id="job_3")]
    listed = {"data": jobs, "has_more": False, "first_id": "job_1", "last_id": "job_3"}
    server.on("GET", "/jobs", httpx2.Response(200, json=listed))
    shown = [line.split()[:2] for line in run("list", *option).stdout.splitlines()]
    assert shown == [["JOB", "TENANT"], ["job_1", "vision"], ["job_2", "nlp"], ["job_3", "?"]]
    as_json = json.loads(run("list", *option, "--json").stdout)
    assert [one.get("tenant_id") for one in as_json["data"]] == ["vision", "nlp", None]
    assert run("list", *option, "--quiet").stdout == "job_1\njob_2\njob_3\n"
    assert headers(server) == ["*", "*", "*"]
    assert "TENANT" not in run("list").stdout


def test_one_tenant_or_all(run: Any, server: Any) -> None:
    done = run("list", "--all-tenants", "--tenant", "vision")
    assert (done.exit_code, "either" in done.stderr) == (2, True)
    assert server.requests == []


def test_what_no_header_can_say_is_the_servers_to_refuse(run: Any, server: Any, fake: Any) -> None:
    server.on("GET", "/jobs", fake.problem(422, "invalid_request"))
    done = run("list", "--tenant", "zürich")
    assert (done.exit_code, "422 invalid_request" in done.stderr) == (3, True)
    assert headers(server) == ["z?rich"]


LINE = {
    "id": "aud_1",
    "tenant_id": "vision",
    "key_id": "key_1",
    "operator": False,
    "action": "POST /jobs",
    "subject_id": "job_1",
    "status": 201,
    "request_id": "req_1",
    "address": None,
    "created_at": "2026-01-02T03:04:05Z",
}
LINES = (
    LINE,
    LINE | {"id": "aud_2", "key_id": None, "operator": True, "action": "DELETE /jobs/job_1", "status": 204},
    LINE
    | {"id": "aud_3", "tenant_id": None, "key_id": None, "subject_id": None, "action": "GET /\u2028\x85"},
)


def test_the_audit(run: Any, server: Any) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in LINES)
    kind = {"content-type": "application/x-ndjson"}
    server.on("GET", "/audit/export", httpx2.Response(200, headers=kind, content=text.encode()))
    shown = run("audit", "--tenant", "*", "--since", "2026-01-01T00:00:00+01:00")
    assert [line.split()[1:] for line in shown.stdout.rstrip().split("\n")] == [
        ["vision", "key_1", "201", "POST", "/jobs", "job_1"],
        ["vision", "operator", "204", "DELETE", "/jobs/job_1", "job_1"],
        ["-", "nobody", "201", "GET", "/", "\\x85"],
    ]
    assert headers(server) == ["*"]
    assert dict(server.requests[0].url.params) == {"since": "2026-01-01T00:00:00+01:00"}
    as_json = [json.loads(line) for line in run("audit", "--json").stdout.rstrip().split("\n")]
    assert as_json == list(LINES)


def test_an_audit_that_breaks_off_or_is_refused(run: Any, server: Any, fake: Any) -> None:
    def broken() -> Iterator[bytes]:
        yield json.dumps(LINE).encode() + b"\n"
        raise httpx2.ReadError("gone")

    server.on("GET", "/audit/export", lambda _: httpx2.Response(200, stream=Stream(broken())))
    done = run("audit", "--quiet")
    assert (done.exit_code, done.stdout) == (4, "aud_1\n")
    server.on("GET", "/audit/export", fake.problem(403, "forbidden"))
    assert run("audit").exit_code == 3


class Stream(httpx2.SyncByteStream):
    """A body that breaks."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces
