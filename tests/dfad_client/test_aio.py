"""What only asyncio can do wrong: cancelling, and many at once; the rest is tested with the twin."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dfad_client import AsyncClient, ConnectionFailed
from dfad_client.aio import client as aio_client
from dfad_client.aio.transport import AsyncTransport

PATH = "/jobs/job_1/events"


class Endless(httpx2.AsyncByteStream):
    """A body that begins, never ends, and knows whether it was closed."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.closed = False

    async def __aiter__(self) -> Any:
        yield self._content
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.closed = True


class Torn(httpx2.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> Any:
        yield self._content
        raise httpx2.ReadError("connection reset")


def run(work: Coroutine[Any, Any, Any]) -> Any:
    return asyncio.run(work)


def test_from_a_file_to_a_student(server: Any, fake: Any, tmp_path: Path) -> None:
    (tmp_path / "t.pt").write_bytes(b"weights")
    server.on("POST", "/jobs", httpx2.ConnectError("refused"), httpx2.Response(201, json=fake.job()))
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job(status="succeeded")))
    server.on("GET", PATH, fake.sse((1, "job.queued", {}), (2, "job.succeeded", {})))
    server.on("GET", "/jobs/job_1/artifacts", httpx2.Response(200, json={"data": [fake.artifact()]}))
    page = {"data": [fake.job()], "has_more": False, "last_id": "job_1"}
    server.on("GET", "/jobs", httpx2.Response(200, json=page))

    def rest(request: httpx2.Request) -> httpx2.Response:
        start = int(request.headers["range"].removeprefix("bytes=").removesuffix("-"))
        return httpx2.Response(206, content=fake.BYTES[start:])

    torn = lambda _request: httpx2.Response(200, stream=Torn(fake.BYTES[:1000]))  # noqa: E731
    server.on("GET", "/artifacts/art_1", torn, rest)

    async def work() -> None:
        async with AsyncClient("http://dfad.test", "secret") as dfad:
            job = await dfad.jobs.create(tmp_path / "t.pt", spec={"student": {"architecture": "mlp8"}})
            assert [event.seq async for event in dfad.jobs.stream(job.id)] == [1, 2]
            assert (await dfad.jobs.wait(job.id)).succeeded
            assert [job.id async for job in dfad.jobs.list()] == ["job_1"]
            await dfad.jobs.download_student(job.id, tmp_path / "s")

    run(work())
    assert (tmp_path / "s").read_bytes() == fake.BYTES
    sent = server.sent("POST", "/jobs")
    assert len({request.headers["idempotency-key"] for request in sent}) == 1
    assert all(b"weights" in request.content for request in sent)
    assert sent[0].headers["authorization"] == "Bearer secret"


def test_a_cancelled_stream_lets_its_connection_go(server: Any, fake: Any) -> None:
    body = Endless(fake.sse((1, "progress", {"step": 1})).content)
    kind = {"content-type": "text/event-stream"}
    server.on("GET", PATH, lambda _request: httpx2.Response(200, headers=kind, stream=body))
    seen: list[int] = []

    async def follow(dfad: AsyncClient) -> None:
        async for event in dfad.jobs.stream("job_1"):
            seen.append(event.seq)

    async def work() -> None:
        async with AsyncClient("http://dfad.test") as dfad:
            task = asyncio.create_task(follow(dfad))
            while not seen:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert body.closed

    run(work())
    assert len(server.requests) == 1, "what is cancelled is not tried again"


def test_waiting_can_be_cancelled_and_holds_up_nobody(
    server: Any, fake: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job(status="running")))
    server.on("GET", "/jobs/job_2", httpx2.Response(200, json=fake.job(id="job_2", status="succeeded")))
    asleep = asyncio.Event()

    async def sleep(_seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    def transport(*given: Any, **options: Any) -> AsyncTransport:
        return AsyncTransport(*given, **{**options, "transport": httpx2.MockTransport(server)}, sleep=sleep)

    monkeypatch.setattr(aio_client, "AsyncTransport", transport)

    async def work() -> None:
        async with AsyncClient("http://dfad.test") as dfad:
            waiting = asyncio.create_task(dfad.jobs.wait("job_1"))
            await asleep.wait()
            assert (await dfad.jobs.wait("job_2")).succeeded
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    run(work())


def test_a_cancelled_download_leaves_nothing(server: Any, fake: Any, tmp_path: Path) -> None:
    server.on("GET", "/jobs/job_1/artifacts", httpx2.Response(200, json={"data": [fake.artifact()]}))
    server.on("GET", "/artifacts/art_1", lambda _request: httpx2.Response(200, stream=Endless(b"x" * 10)))
    begun = asyncio.Event()

    async def work() -> None:
        async with AsyncClient("http://dfad.test") as dfad:
            listen = lambda _done, _total: begun.set()  # noqa: E731
            fetch = dfad.jobs.download_student("job_1", tmp_path / "s", on_progress=listen)
            task = asyncio.create_task(fetch)
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    run(work())
    assert list(tmp_path.iterdir()) == []


def test_gives_up_as_the_other_does(server: Any) -> None:
    server.on("GET", "/capabilities", httpx2.ConnectError("refused"))

    async def work() -> None:
        async with AsyncClient("http://dfad.test", retries=2) as dfad:
            await dfad.capabilities()

    with pytest.raises(ConnectionFailed, match=r"http://dfad\.test"):
        run(work())
    assert len(server.requests) == 3


def test_uploads_in_parts(server: Any, tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"abcdef")
    view = {"id": "upl_1", "status": "open", "bytes": 6, "part_bytes": 4, "part_count": 2, "parts": []}
    server.on("POST", "/uploads", httpx2.Response(201, json=view))
    server.on("POST", "/uploads/upl_1/complete", httpx2.Response(200, json=view))
    for number in (1, 2):
        server.on("PUT", f"/uploads/upl_1/parts/{number}", httpx2.Response(200, json=view))
    teacher = {"id": "tch_1", "status": "inspecting"}
    server.on("POST", "/teachers", httpx2.Response(201, json=teacher))
    ready = {**teacher, "status": "ready", "inspection": {"parameters": 3}}
    server.on("GET", "/teachers/tch_1", httpx2.Response(200, json=teacher), httpx2.Response(200, json=ready))

    async def work() -> None:
        async with AsyncClient("http://dfad.test") as dfad:
            upload_id = await dfad.uploads.send(tmp_path / "t")
            made = await dfad.teachers.create(upload_id=upload_id, spec={"num_classes": 3})
            assert (await dfad.teachers.wait(made.id)).inspection == {"parameters": 3}

    run(work())
    assert [r.content for r in server.requests if r.method == "PUT"] == [b"abcd", b"ef"]
    assert json.loads(server.sent("POST", "/teachers")[0].content) == {
        "num_classes": 3,
        "upload_id": "upl_1",
    }
