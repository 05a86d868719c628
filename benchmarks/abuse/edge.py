"""Attacks on the HTTP edge: by somebody without a key, or with the key of one tenant."""

from __future__ import annotations

import contextlib
import http.client

from benchmarks.abuse.attack import Attack, Context


def nothing(context: Context) -> None:
    """No attack: how fast the other tenant is served in peace."""
    context.stop.wait()


def changes_without_a_key(context: Context) -> None:
    """`POST` to paths that need no key, as fast as one connection goes."""
    connection = context.connect()
    while not context.stop.is_set():
        with contextlib.suppress(OSError, http.client.HTTPException):
            for method, path in (("POST", "/static/x"), ("DELETE", "/healthz")):
                connection.request(method, path)
                connection.getresponse().read()
            continue
        connection.close()


ATTACKS = [
    Attack("no key: changes of open paths", changes_without_a_key),
]
