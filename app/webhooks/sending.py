"""One try of one message: look the host up once, check every address, connect to one of those, send.

The system's resolver is asked once and the socket is connected to an address that it gave, by number: a name
that answers otherwise a moment later changes nothing. No proxy, no redirect, no connection kept, and one
deadline for all of it, however slowly the receiver drips.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from typing import Any, Literal, cast

from app.platform.network_addresses import Address, Allowed
from app.webhooks.urls import Target, UrlRefused, check_url

Resolver = Callable[[str, int], Sequence[str]]
ErrorCode = Literal[
    "url_refused",
    "not_resolved",
    "address_refused",
    "connection_failed",
    "tls_failed",
    "timeout",
    "bad_response",
    "redirect",
    "http_error",
    "gone",
    "secret_unreadable",
]
MOST_ADDRESSES = 4
GONE = 410


@dataclass(frozen=True)
class Outcome:
    """What became of a try: the receiver's status, or why there is none."""

    status: int | None = None
    error: ErrorCode | None = None
    retry_after: str | None = None

    @property
    def arrived(self) -> bool:
        """Whether the receiver took it."""
        return self.error is None


class _Failed(Exception):
    def __init__(self, error: ErrorCode) -> None:
        super().__init__(error)
        self.error = error


def look_up(host: str, port: int) -> Sequence[str]:
    """All addresses that the system's resolver knows."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def post(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    seconds: float,
    allowed: Allowed,
    resolver: Resolver = look_up,
) -> Outcome:
    """Send `body` within `seconds`. Never raises for what the receiver or the network does."""
    deadline = time.monotonic() + seconds
    try:
        target = check_url(url, allowed)
        connected = _connected(target, checked_addresses(target, allowed, resolver, deadline), deadline)
        try:
            return _exchange(target, connected, body, headers)
        finally:
            connected.close()
    except (_Failed, OSError, http.client.HTTPException, ValueError) as error:
        return Outcome(error=_named(error))


def _named(error: Exception) -> ErrorCode:
    if isinstance(error, _Failed):
        return error.error
    # In this order: most of these are a kind of OSError.
    names: tuple[tuple[type[Exception], ErrorCode], ...] = (
        (UrlRefused, "url_refused"),
        (TimeoutError, "timeout"),
        (ssl.SSLError, "tls_failed"),
        (OSError, "connection_failed"),
    )
    return next((name for kind, name in names if isinstance(error, kind)), "bad_response")


def checked_addresses(
    target: Target, allowed: Allowed, resolver: Resolver, deadline: float
) -> Sequence[Address]:
    """Where `target` is, if every address of it may be sent to."""
    try:
        found = [ip_address(text) for text in _in_time(lambda: resolver(target.host, target.port), deadline)]
    except (OSError, UnicodeError, ValueError) as error:
        if isinstance(error, TimeoutError):
            raise
        raise _Failed("not_resolved") from error
    if not found:
        raise _Failed("not_resolved")
    if not all(allowed.address(address, target.host) for address in found):
        raise _Failed("address_refused")
    return found[:MOST_ADDRESSES]


def _in_time(call: Callable[[], Sequence[str]], deadline: float) -> Sequence[str]:
    """What `call` returns, if it does in time: the system's resolver knows no deadline of ours."""
    answers: list[Sequence[str] | Exception] = []

    def ask() -> None:
        try:
            answers.append(call())
        except (OSError, UnicodeError, ValueError) as error:
            answers.append(error)

    asking = threading.Thread(target=ask, name="webhook-resolver", daemon=True)
    asking.start()
    asking.join(max(0.0, deadline - time.monotonic()))
    if not answers:
        raise TimeoutError
    if isinstance(answers[0], Exception):
        raise answers[0]
    return answers[0]


def _connected(target: Target, addresses: Sequence[Address], deadline: float) -> _Timed:
    """A connection to the first address that takes one; with TLS its certificate is that of the name."""
    for number, address in enumerate(addresses):
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        plain = socket.socket(family, socket.SOCK_STREAM)
        timed = _Timed(plain, deadline)
        try:
            plain.settimeout(timed.left() / (len(addresses) - number))
            plain.connect((str(address), target.port))
            if target.scheme == "https":
                plain.settimeout(timed.left())
                timed = _Timed(_trust().wrap_socket(plain, server_hostname=target.host), deadline)
        except BaseException as error:
            timed.close()
            last = number == len(addresses) - 1
            if last or not isinstance(error, OSError) or isinstance(error, ssl.SSLError):
                raise
        else:
            return timed
    raise _Failed("connection_failed")


@cache
def _trust() -> ssl.SSLContext:
    """Certificates that the machine trusts (SSL_CERT_FILE adds to them as everywhere)."""
    return ssl.create_default_context()


class _Timed:
    """A socket with one deadline for everything. As much of a socket as `http.client` asks for."""

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline

    def left(self) -> float:
        """Seconds; raises TimeoutError when there are none."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def sendall(self, data: bytes) -> None:
        """All of it."""
        self._socket.settimeout(self.left())
        self._socket.sendall(data)

    def receive_into(self, buffer: Any) -> int:
        """What has come; how many bytes."""
        self._socket.settimeout(self.left())
        return self._socket.recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What the answer is read from."""
        return io.BufferedReader(_Reader(self))

    def close(self) -> None:
        """In both directions."""
        self._socket.close()


class _Reader(io.RawIOBase):
    def __init__(self, timed: _Timed) -> None:
        self._timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._timed.receive_into(buffer)


def _exchange(target: Target, connected: _Timed, body: bytes, headers: Mapping[str, str]) -> Outcome:
    connection = http.client.HTTPConnection(target.host, target.port)
    connection.sock = cast(socket.socket, connected)
    fixed = {"Host": target.host_header, "Connection": "close", "Content-Type": "application/json"}
    connection.request("POST", target.path, body, {**fixed, **headers})
    answer = connection.getresponse()  # its body is of no interest, and is not read
    status = answer.status
    if 200 <= status < 300:
        return Outcome(status)
    asked = answer.getheader("Retry-After") if status in (429, 503) else None
    error: ErrorCode = "gone" if status == GONE else "redirect" if 300 <= status < 400 else "http_error"
    return Outcome(status, error, asked)
