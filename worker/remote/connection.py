"""Calls of a server, and what becomes of each that fails."""

from __future__ import annotations

import base64
import errno
import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx2
from sqlalchemy.exc import NoResultFound

from app.leases.records import LeaseLost
from app.platform.setting_groups import is_loopback
from app.storage import IntegrityError, StoreAway
from dfad_core import __version__
from worker.service import ServiceAway

CONNECT_SECONDS = 10.0
READ_SECONDS = 60.0
"""Without a byte; a server that starts a long write keeps a client waiting."""
PIECE_BYTES = 2**20
AGAIN = (408, 409, 425, 429)
"""Refusals that another try may get over."""


class KeyRefused(ServiceAway):
    """The key opens nothing, or not this: it was revoked, has expired, or is no worker's."""


class Refused(Exception):
    """The server does not take what was sent, and never will."""


class Connection:
    """An HTTP client of one server, for any thread."""

    def __init__(self, server: str, key: str, worker: str) -> None:
        """`worker`: `host:pid`. Raises ValueError for proxies or certificates that cannot be used."""
        headers = {
            "Authorization": f"Bearer {key}",
            "User-Agent": f"dfad-worker/{__version__}",
            "DFAD-Worker": worker,
        }
        # No proxy can reach this machine's own loopback, whatever HTTP_PROXY says.
        direct = is_loopback(urlsplit(server).hostname or "")
        try:
            self._http = httpx2.Client(
                base_url=server,
                headers=headers,
                timeout=httpx2.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
                trust_env=not direct,
            )
        except (ImportError, OSError, ValueError, httpx2.InvalidURL) as error:
            raise ValueError(f"proxies or certificates of the environment: {error}") from error

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: object = None,
        params: Any = None,
        read_seconds: float = READ_SECONDS,
    ) -> Any:
        """What the server answers, as JSON; None for an answer without a body.

        Raises ServiceAway, KeyRefused, LeaseLost, NoResultFound, OSError for a server without space, and
        Refused.
        """
        timeout = httpx2.Timeout(read_seconds, connect=min(CONNECT_SECONDS, read_seconds))
        try:
            answer = self._http.request(
                method, path, headers=dict(headers), json=body, params=params, timeout=timeout
            )
        except httpx2.TransportError as error:
            raise ServiceAway(f"{method} {path}: {error or type(error).__name__}") from error
        return _content(answer)

    def send(self, path: str, headers: Mapping[str, str], payload: bytes, params: Any) -> Any:
        """The answer to a PUT of these bytes, which it is told the digest of. Raises as `call`."""
        digest = base64.b64encode(hashlib.sha256(payload).digest()).decode()
        about = {
            **headers,
            "Content-Type": "application/octet-stream",
            "Content-Length": str(len(payload)),
            "Content-Digest": f"sha-256=:{digest}:",
        }
        try:
            answer = self._http.put(path, headers=about, content=_pieces(payload), params=params)
        except httpx2.TransportError as error:
            raise ServiceAway(f"PUT {path}: {error or type(error).__name__}") from error
        return _content(answer)

    @contextmanager
    def reading(self, path: str, headers: Mapping[str, str], start: int) -> Iterator[Iterator[bytes]]:
        """The bytes of an answer from `start` on, piece by piece. Raises as `call`; where the transfer breaks
        off, BrokenTransfer."""
        about = {**headers, "Accept-Encoding": "identity"}
        if start:
            about["Range"] = f"bytes={start}-"
        try:
            with self._http.stream("GET", path, headers=about) as answer:
                if not answer.is_success:
                    answer.read()
                    _content(answer)
                if start and answer.status_code != httpx2.codes.PARTIAL_CONTENT:
                    raise ServiceAway(f"GET {path}: the server sends no parts")
                yield _broken_off(answer)
        except httpx2.TransportError as error:
            raise ServiceAway(f"GET {path}: {error or type(error).__name__}") from error


class BrokenTransfer(ServiceAway):
    """An answer that had begun did not come to its end."""


def _broken_off(answer: httpx2.Response) -> Iterator[bytes]:
    try:
        yield from answer.iter_raw()  # what has come, also where the rest does not
    except httpx2.TransportError as error:
        raise BrokenTransfer(str(error) or type(error).__name__) from error


def _pieces(payload: bytes) -> Iterator[bytes]:
    for start in range(0, len(payload), PIECE_BYTES):
        yield payload[start : start + PIECE_BYTES]


def _content(answer: httpx2.Response) -> Any:
    if answer.is_success:
        return answer.json() if answer.content else None
    code, detail = _problem(answer)
    text = f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {code}: {detail}"
    match answer.status_code:
        case 401 | 403:
            raise KeyRefused(text)
        case 410:
            raise LeaseLost(text)
        case 404 if code == "not_found":
            raise NoResultFound(text)
        case 503 if code == "store_away":
            raise StoreAway(text)
        case 500 if code == "stored_file_damaged":
            raise IntegrityError(text)
        case 507:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "the server's store")
        case status if status in AGAIN or status >= 500 or code is None:
            # What has no code is not from the service but from a proxy before it.
            raise ServiceAway(text)
    raise Refused(text)


def _problem(answer: httpx2.Response) -> tuple[str | None, str]:
    try:
        about = answer.json()
        return str(about["code"]), str(about["detail"])
    except (ValueError, KeyError, TypeError):
        return None, answer.text[:200]
