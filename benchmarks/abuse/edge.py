"""Attacks on the HTTP edge: by somebody without a key, or with the key of one tenant.

Each goes on over a few connections as fast as the server answers. An attack ends with an error where the
server answers it with a 5xx.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import resource
import secrets
import socket
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from benchmarks.abuse.attack import ATTACKER_ADDRESS, Attack, Context

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
REFUSED = (OSError, http.client.HTTPException)
PAUSE_SECONDS = 0.01
"""Before a connection that the server closed is opened again."""


def nothing(context: Context) -> None:
    """No attack: how fast the other tenant is served in peace."""
    context.stop.wait()


def _over(connections: int, context: Context, attack: Callable[[http.client.HTTPConnection], object]) -> None:
    """`attack` again and again over so many connections."""

    def repeat(_: int) -> None:
        connection = context.connect()
        while not context.stop.is_set():
            try:
                attack(connection)
            except REFUSED:
                connection.close()
                context.stop.wait(PAUSE_SECONDS)
        connection.close()

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(repeat, range(connections)))


def _ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> int:
    """Status of the answer."""
    connection.request(method, path, body, dict(headers or {}))
    answer = connection.getresponse()
    answer.read()
    assert answer.status < 500, f"{method} {path}: {answer.status}"
    return answer.status


def changes_without_a_key(context: Context) -> None:
    """`POST` to paths that need no key, as fast as one connection goes."""

    def change(connection: http.client.HTTPConnection) -> None:
        _ask(connection, "POST", "/static/x")
        _ask(connection, "DELETE", "/healthz")

    _over(1, context, change)


def ampersands(context: Context) -> None:
    """1 MB of `&` as a form for the sign-in."""
    _over(4, context, lambda connection: _ask(connection, "POST", "/ui/sign-in", b"&" * 10**6, FORM))


def guesses(context: Context) -> None:
    """Keys of the service's own form that open nothing, in requests and at the sign-in."""

    def guess(connection: http.client.HTTPConnection) -> None:
        key = f"dfad_{secrets.token_hex(16)}_{secrets.token_urlsafe(32)}"
        _ask(connection, "GET", "/jobs", headers={"Authorization": f"Bearer {key}"})
        _ask(connection, "POST", "/ui/sign-in", f"key={key}".encode(), FORM)

    _over(16, context, guess)


def unfinished_heads(context: Context) -> None:
    """3,000 connections that begin a head and add a byte to it now and then; closed ones are opened anew."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    opened: list[socket.socket] = []
    while not context.stop.is_set():
        for connection in list(opened):
            try:
                connection.send(b"x")
            except OSError:
                connection.close()
                opened.remove(connection)
        while len(opened) < 3000 and not context.stop.is_set():
            with contextlib.suppress(OSError):
                made = socket.create_connection(
                    (context.host, context.port), 30, source_address=(ATTACKER_ADDRESS, 0)
                )
                made.settimeout(0)
                opened.append(made)
                made.send(b"GET /healthz HTTP/1.1\r\nX: ")
        context.stop.wait(0.5)
    for connection in opened:
        connection.close()


def unknown_fields(context: Context) -> None:
    """JSON with as many unknown fields as 1 MB holds, and with as many as the server looks at."""
    fields = [{f"f{number}": 1 for number in range(count)} for count in (80_000, 19_000, 250)]
    bodies = [json.dumps(some).encode() for some in (*fields, {"student": {"layers": [fields[-1]] * 70}})]
    headers = context.bearer() | JSON

    def post(connection: http.client.HTTPConnection) -> None:
        for body in bodies:
            _ask(connection, "POST", "/jobs/validate", body, headers)

    _over(4, context, post)


def many_conditions(context: Context) -> None:
    """Lists of jobs with 250 conditions, and with more than a query may have."""
    queries = ["&".join([f"metadata[k{n}]=v" for n in range(number)]) for number in (16, 250, 998)]

    def ask(connection: http.client.HTTPConnection) -> None:
        for query in queries:
            _ask(connection, "GET", f"/jobs?{query}", headers=context.bearer())

    _over(4, context, ask)


ATTACKS = [
    Attack("no key: changes of open paths", changes_without_a_key),
    Attack("no key: a form of ampersands", ampersands),
    Attack("no key: guesses of keys", guesses),
    Attack("no key: unfinished heads", unfinished_heads),
    Attack("one key: JSON of unknown fields", unknown_fields),
    Attack("one key: lists with many conditions", many_conditions),
]
