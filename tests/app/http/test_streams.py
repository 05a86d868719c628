"""Event streams: bounded by key and tenant, cheap in numbers, and over with the key."""

import asyncio
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest

from app.access.keys.principal import ANYONE
from app.jobs import event_stream, lifecycle, news
from app.jobs.event_stream import STREAMS_A_KEY, STREAMS_A_TENANT, stream
from tests.app.http.test_server import Server, serve  # noqa: F401  (the fixture)

OPERATOR = {"Authorization": "Bearer the-operators"}
SECONDS = 20.0
"""More than any stream outlives its key by."""


def key(server: Server, tenant: str = "local", **asked: Any) -> dict[str, str]:
    """Headers of a new key, and its id."""
    body = {"name": "k", "scopes": ["read"], "tenant_id": tenant, **asked}
    made = httpx.post(f"{server.url}/keys", json=body, headers=OPERATOR).json()
    return {"Authorization": f"Bearer {made['key']}", "id": made["id"]}


def heard(server: Server, job_id: str, headers: dict[str, str], then: Callable[[], object]) -> float:
    """Seconds from `then`, which is called at the first event, to the end of the stream."""
    sent = {"Accept": "text/event-stream", "Authorization": headers["Authorization"]}
    begun = time.monotonic()
    with httpx.stream("GET", f"{server.url}/jobs/{job_id}/events", headers=sent, timeout=SECONDS) as answer:
        assert answer.status_code == 200
        for line in answer.iter_lines():
            if line.startswith("id: 1"):
                then()
                begun = time.monotonic()
            assert time.monotonic() - begun < SECONDS
    return time.monotonic() - begun


def test_a_stream_ends_soon_after_its_key(serve: Callable[..., Server]) -> None:  # noqa: F811
    server = serve(api_key="the-operators", sse_keep_alive_seconds="1")
    job_id = server.submit(headers=OPERATOR).json()["id"]
    revoked = key(server)
    url = f"{server.url}/keys/{revoked['id']}"
    assert heard(server, job_id, revoked, lambda: httpx.delete(url, headers=OPERATOR)) < SECONDS
    soon = datetime.now(UTC) + timedelta(seconds=2)
    assert heard(server, job_id, key(server, expires_at=soon.isoformat()), lambda: None) < SECONDS
    # A long poll that a key outlives is answered no more.
    short = key(server, expires_at=(datetime.now(UTC) + timedelta(seconds=2)).isoformat())
    poll = {"Authorization": short["Authorization"], "Prefer": "wait=4"}
    assert httpx.get(f"{server.url}/jobs/{job_id}", headers=poll, timeout=SECONDS).status_code == 401


def test_a_stream_of_a_server_without_keys_ends_when_there_is_one(
    serve: Callable[..., Server],  # noqa: F811
) -> None:
    server = serve(sse_keep_alive_seconds="1")
    job_id = server.submit().json()["id"]
    body = {"name": "first", "scopes": ["admin"]}
    nobody = {"Authorization": ""}
    assert heard(server, job_id, nobody, lambda: httpx.post(f"{server.url}/keys", json=body)) < SECONDS


def test_a_key_has_so_many_streams_and_others_are_served(
    serve: Callable[..., Server],  # noqa: F811
) -> None:
    server = serve(api_key="the-operators")
    job_id = server.submit(headers=OPERATOR).json()["id"]

    def ask(headers: dict[str, str]) -> Any:
        lines = f"Host: x\r\nAccept: text/event-stream\r\nAuthorization: {headers['Authorization']}\r\n\r\n"
        return server.raw(f"GET /jobs/{job_id}/events HTTP/1.1\r\n{lines}".encode())

    one, two, three = key(server), key(server), key(server)
    opened = [ask(one) for _ in range(STREAMS_A_KEY)]
    assert all(connection.recv(12).endswith(b"200") for connection in opened)
    refused = ask(one).recv(4096).decode().lower()
    assert " 429 " in refused
    assert "retry-after: " in refused
    opened += [ask(two) for _ in range(STREAMS_A_TENANT - STREAMS_A_KEY)]
    assert all(connection.recv(12).endswith(b"200") for connection in opened[STREAMS_A_KEY:])
    assert ask(three).recv(12).endswith(b"429")
    shown = httpx.get(f"{server.url}/jobs/{job_id}", headers=OPERATOR, timeout=30)
    assert shown.status_code == 200
    for connection in opened:
        connection.close()
    deadline = time.monotonic() + 30
    while (again := ask(one)).recv(12).endswith(b"429"):
        assert time.monotonic() < deadline, "places of streams that are over stay taken"
        again.close()
        time.sleep(0.2)


def test_what_many_watch_is_read_once(
    database: str, stored_jobs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.jobs.events import append_event
    from app.platform.db import session_scope

    watchers, events = 40, 30
    job_id = stored_jobs.submit()
    reads = []
    real = news.events_after
    monkeypatch.setattr(news, "events_after", lambda *given: (reads.append(given), real(*given))[1])
    monkeypatch.setattr(event_stream, "LOOK_SECONDS", 5)

    def work() -> None:
        with session_scope() as session:
            claim = lifecycle.claim(session, job_id, "w")
        assert claim is not None
        for step in range(events):
            with session_scope() as session:
                append_event(session, job_id, "progress", {"step": step})
            time.sleep(0.01)
        with session_scope() as session:
            assert lifecycle.requeue(session, claim, "test", delay=0)
            lifecycle.request_cancel(session, job_id, "local")

    async def watch() -> list[str]:
        pieces = [piece async for piece in stream(job_id, 0, ANYONE, anyio.Event())]
        return re.findall(r"(?m)^id: (\d+)\r$", b"".join(pieces).decode())

    async def together() -> list[list[str]]:
        watching = [asyncio.create_task(watch()) for _ in range(watchers)]
        await asyncio.sleep(1)
        await asyncio.to_thread(work)
        return await asyncio.wait_for(asyncio.gather(*watching), SECONDS)

    seen = asyncio.run(together())
    assert seen == [[str(number) for number in range(1, events + 5)]] * watchers
    assert len(reads) <= watchers + events + 10  # not one for each of them and each event
