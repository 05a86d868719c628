"""Connections that owe a head, or take no answer: bounded in number, time and size."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvicorn

from app.http import connections
from app.http.connections import Connection

HELLO = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
STRANGER = "127.0.0.2"
OTHER_STRANGER = "127.0.0.3"


async def application(scope: Any, receive: Any, send: Any) -> None:
    """`/wait` answers in a while, `/large` in many pieces, everything else at once; no body is read."""
    if scope["type"] != "http":
        return
    if scope["path"] == "/wait":
        await asyncio.sleep(1)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for _ in range(1000 if scope["path"] == "/large" else 0):
        await send({"type": "http.response.body", "body": b"x" * 100_000, "more_body": True})
    await send({"type": "http.response.body", "body": b"hello"})


Serve = Callable[[], int]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a server in this process that trusts nobody; its port."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start() -> int:
        connections._connections.cache_clear()
        config = uvicorn.Config(application, port=0, http=Connection, ws="none", lifespan="off")
        config.forwarded_allow_ips = "192.0.2.1"
        config.timeout_graceful_shutdown = 1
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        servers.append((server, thread))
        while not server.started:
            time.sleep(0.01)
        return int(server.servers[0].sockets[0].getsockname()[1])

    yield start
    for server, thread in servers:
        server.should_exit = True
        thread.join()
    connections._connections.cache_clear()


def connect(port: int, address: str = STRANGER, sends: bytes = b"") -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), 30, source_address=(address, 0))
    made.sendall(sends)
    return made


def rest(connection: socket.socket) -> bytes:
    """What still comes, to the connection's end."""
    got = b""
    with contextlib.suppress(ConnectionError):
        while piece := connection.recv(65536):
            got += piece
    return got


def answers(connection: socket.socket, number: int = 1) -> bytes:
    """So many answers."""
    got = b""
    while got.count(b"0\r\n\r\n") < number:
        piece = connection.recv(4096)
        assert piece, got
        got += piece
    return got


@pytest.mark.parametrize(
    ("begins", "goes_on"),
    [(b"", b""), (b"G", b""), (b"", b"\r\n"), (b"GET / HTTP/1.1\r\nX: ", b"x")],
    ids=["nothing", "byte", "lines", "header"],
)
@pytest.mark.parametrize("before", [b"", HELLO], ids=["first", "later"])
def test_a_head_has_to_end(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, begins: bytes, goes_on: bytes, before: bytes
) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    connection = connect(serve(), sends=before)
    if before:
        answers(connection)
    connection.sendall(begins)
    connection.settimeout(0.05)
    deadline, got = time.monotonic() + 20, b"-"
    with contextlib.suppress(ConnectionError):
        while got:
            assert time.monotonic() < deadline
            connection.sendall(goes_on)
            with contextlib.suppress(TimeoutError):
                got = connection.recv(4096)


def test_a_slow_head_is_told_why(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    assert rest(connect(serve(), sends=HELLO[:-2])).startswith(b"HTTP/1.1 408")


def test_a_body_that_nobody_reads_ends_too(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    connection = connect(serve(), sends=b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    begun = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < begun + 20:
            connection.sendall(b"x")
            time.sleep(0.05)
    assert time.monotonic() < begun + 20


def test_a_request_may_take_longer_than_a_head(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    port = serve()
    connection = connect(port, sends=HELLO.replace(b"/ ", b"/wait "))
    time.sleep(0.5)
    connection.sendall(HELLO)  # and another one meanwhile
    assert answers(connection, 2).count(b"hello") == 2


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 40_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 150 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 10**6,
        b"GET /" + b"x" * 10**6,
    ],
    ids=["url", "header", "headers", "endless header", "endless url"],
)
def test_a_head_may_not_be_large(serve: Serve, head: bytes) -> None:
    port = serve()
    connection = connect(port)
    with contextlib.suppress(ConnectionError):
        connection.sendall(head)
    got = rest(connection)
    assert b"200" not in got
    assert not got or got.startswith(b"HTTP/1.1 431")
    assert b"hello" in rest(connect(port, sends=HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")))


def test_trailers_may_not_be_large(serve: Serve) -> None:
    head = b"POST /wait HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX: "
    connection = connect(serve(), sends=head)
    deadline = time.monotonic() + 0.8  # before its answer
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < deadline:
            connection.sendall(b"x" * 10_000)
    assert time.monotonic() < deadline


def test_a_body_in_the_smallest_chunks_is_taken(serve: Serve) -> None:
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert b"hello" in rest(connect(serve(), sends=head + b"1\r\nx\r\n" * 20_000 + b"0\r\n\r\n"))


def test_few_requests_may_wait_behind_another(serve: Serve) -> None:
    port = serve()
    assert rest(connect(port, sends=HELLO.replace(b"/ ", b"/wait ") + HELLO * 1000)).count(b"hello") == 0
    close = HELLO.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    assert rest(connect(port, sends=HELLO * 20 + close)).count(b"hello") == 21


def test_one_address_takes_no_more_than_its_share(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "most_connections", lambda: 40)
    port = serve()
    opened = [connect(port, sends=b"GET / HT") for _ in range(30)]
    # The oldest made room for the newest, as for a good client that shares the address with them.
    assert rest(opened[0]) == b""
    last = connect(port, sends=HELLO)
    assert b"200 OK" in last.recv(4096)
    # Those that have sent a head are not sent away: whoever comes next is.
    waiting = [connect(port, OTHER_STRANGER, HELLO.replace(b"/ ", b"/wait ")) for _ in range(12)]
    got = [rest(one) if number > 9 else one.recv(4096) for number, one in enumerate(waiting)]
    assert all(b"200 OK" in one for one in got[:10])
    assert all(one == b"" or b"503" in one for one in got[10:])


def test_many_addresses_take_no_more_than_all(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "most_connections", lambda: 20)
    port = serve()
    opened = [connect(port, f"127.0.1.{number}", b"GET") for number in range(1, 31)]
    assert b"200 OK" in connect(port, "127.0.2.1", HELLO).recv(4096)
    assert rest(opened[0]) == b""


def test_a_client_that_takes_no_answer_is_not_waited_for(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "WRITE_SECONDS", 0.5)
    connection = connect(serve(), sends=HELLO.replace(b"/ ", b"/large "))
    time.sleep(2)
    assert 0 < len(rest(connection)) < 100_000_000
