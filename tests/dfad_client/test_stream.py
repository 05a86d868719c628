"""Live events over connections that break."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from dfad_client import ApiError, Client, ConnectionFailed

PATH = "/jobs/job_1/events"


def progress(seq: int) -> tuple[int, str, dict[str, Any]]:
    return seq, "progress", {"step": seq}


class Broken(httpx2.SyncByteStream):
    """A body that ends in the middle of a frame."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Any:
        yield self._content
        raise httpx2.ReadError("connection reset")


def broken(response: httpx2.Response, more: bytes = b"id: 99\nevent: progress\ndata: {") -> Any:
    content = response.content + more
    return lambda _request: httpx2.Response(200, headers=response.headers, stream=Broken(content))


def test_ends_with_the_terminal_event(client: Client, server: Any, fake: Any) -> None:
    server.on("GET", PATH, fake.sse(progress(1), (2, "job.succeeded", {"status": "succeeded"}), progress(3)))
    events = list(client.jobs.stream("job_1"))
    assert [(e.seq, e.type) for e in events] == [(1, "progress"), (2, "job.succeeded")]
    assert server.requests[0].headers["accept"] == "text/event-stream"
    assert "last-event-id" not in server.requests[0].headers


def test_takes_up_where_it_broke_off(client: Client, server: Any, fake: Any) -> None:
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job(status="running")))
    server.on(
        "GET",
        PATH,
        broken(fake.sse(progress(1), progress(2))),
        httpx2.ConnectError("refused"),
        fake.problem(503, "unavailable", Retry_After="3"),
        fake.sse(progress(2), progress(3)),  # doubled, then closed in good order, too early
        broken(fake.sse(comment=True), more=b""),
        fake.sse(progress(4), (5, "job.cancelled", {})),
    )
    events = list(client.jobs.stream("job_1"))
    assert [e.seq for e in events] == [1, 2, 3, 4, 5]
    asked = [r.headers.get("last-event-id") for r in server.sent("GET", PATH)]
    assert asked == [None, "2", "2", "2", "3", "3"]
    assert 3.0 in server.sleeps


def test_tries_are_counted_anew_after_every_event(client: Client, server: Any, fake: Any) -> None:
    answers = [broken(fake.sse(progress(n))) for n in range(1, 20)]
    server.on("GET", PATH, *answers, fake.sse((20, "job.failed", {})))
    assert [e.seq for e in client.jobs.stream("job_1")] == list(range(1, 21))


def test_gives_up_on_a_server_that_is_gone(client: Client, server: Any, fake: Any) -> None:
    server.on("GET", PATH, broken(fake.sse(progress(1))), httpx2.ConnectError("refused"))
    events = client.jobs.stream("job_1")
    assert next(events).seq == 1
    with pytest.raises(ConnectionFailed):
        next(events)
    assert len(server.requests) == 5


def test_gives_up_on_streams_that_stay_empty(client: Client, server: Any, fake: Any) -> None:
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job(status="running")))
    server.on("GET", PATH, fake.sse())
    with pytest.raises(ConnectionFailed, match="keeps closing"):
        list(client.jobs.stream("job_1"))


def test_asked_from_behind_the_end_there_is_nothing(client: Client, server: Any, fake: Any) -> None:
    server.on("GET", "/jobs/job_1", httpx2.Response(200, json=fake.job(status="succeeded")))
    server.on("GET", PATH, fake.sse())
    assert list(client.jobs.stream("job_1", after=9)) == []
    assert server.requests[0].headers["last-event-id"] == "9"


def test_a_refusal_is_final(client: Client, server: Any, fake: Any) -> None:
    server.on("GET", PATH, fake.problem(404, "not_found", "No such job."))
    with pytest.raises(ApiError, match="No such job"):
        list(client.jobs.stream("job_1"))
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        httpx2.Response(200, text="<html>", headers={"content-type": "text/html"}),
        httpx2.Response(200, text="data: no json\n\n", headers={"content-type": "text/event-stream"}),
        httpx2.Response(200, text="data: {}\n\n", headers={"content-type": "text/event-stream"}),
    ],
)
def test_what_is_no_stream_of_events_is_said_to_be_none(
    client: Client, server: Any, answer: httpx2.Response
) -> None:
    server.on("GET", PATH, answer)
    with pytest.raises(ConnectionFailed, match="no stream of events"):
        list(client.jobs.stream("job_1"))
