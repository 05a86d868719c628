"""Connections before there is a request: how many, how long a head may take, and how large it may be.

Uvicorn's own time limit ends with the first byte that arrives, and its bound on connections answers only
whoever has sent a whole head. So a few hundred connections that never finish one would hold every file
descriptor, and a head without an end all memory; here both are cut off, without a proxy in front, too.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import time
from collections import Counter, OrderedDict
from functools import cache
from typing import Any

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from app.platform.client_address import source_of

logger = logging.getLogger(__name__)

HEAD_SECONDS = 20.0
"""From the connection, or from a later head's first byte, to the head's end."""
WRITE_SECONDS = 120.0
"""In which a client has to take 48 KB of an answer that waits for it, or what is left of it."""
MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100
MAX_PIPELINED = 32
"""Requests that wait behind another one of their connection."""
BODY_SHARE = 16
"""A chunk of one byte is framed by five: what arrives beside a body is bounded by this times the body."""

WAITING_CONNECTIONS = 4096
"""That the kernel has accepted and the server not yet; as many as Linux allows by itself.

Of more the kernel drops the first packet, which a client sends again only after a second: whoever opens
thousands at once would delay everybody by so much.
"""

MAX_FILES = 65_536
"""Open at once in one process; as many as the system allows, where that is less."""
MAX_CONNECTIONS = 8192
OWN_FILES = 128
"""For the database and the like. Of the rest half is for connections: each may need a file beside it."""
SHARE_OF_ONE = 4
"""One address may have this part of all connections; a proxy that is trusted may have them all."""
WARNING_SECONDS = 60.0
"""Between two lines of the log that say so."""


def allow_many_files() -> None:
    """Raise the process's bound on open files to what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def most_connections() -> int:
    """How many connections this process may have."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = MAX_FILES if soft == resource.RLIM_INFINITY else soft
    return max(16, min(MAX_CONNECTIONS, (files - OWN_FILES) // 2))


class Connections:
    """Those of one server process, by where they come from."""

    def __init__(self, most: int, proxies: str) -> None:
        self._most, self._most_of_one = most, max(1, most // SHARE_OF_ONE)
        self._trusted = ProxyHeadersMiddleware(_no_application, proxies).trusted_hosts
        self._open = 0
        self._open_of: Counter[str] = Counter()
        #: Those that owe a head, the oldest first: of all, and of each source.
        self._owing: OrderedDict[Connection, None] = OrderedDict()
        self._owing_of: dict[str, OrderedDict[Connection, None]] = {}
        self._warned_at = -WARNING_SECONDS

    def enter(self, source: str, address: str | None) -> bool:
        """Count one more; whether there is room for it.

        Where there is none, the oldest connection that has not sent a whole head makes room.
        """
        self._open += 1
        self._open_of[source] += 1
        if self._open_of[source] > self._most_of_one and address not in self._trusted:
            return self._make_room(self._owing_of.get(source), f"from {source}")
        if self._open > self._most:
            return self._make_room(self._owing, "in all")
        return True

    def leave(self, connection: Connection) -> None:
        """It is closed."""
        self.owes_nothing(connection)
        self._open -= 1
        self._open_of[connection.source] -= 1
        if not self._open_of[connection.source]:
            del self._open_of[connection.source]

    def owes_head(self, connection: Connection) -> None:
        """No request of it is under way."""
        self._owing[connection] = None
        self._owing_of.setdefault(connection.source, OrderedDict())[connection] = None

    def owes_nothing(self, connection: Connection) -> None:
        """It has sent a head, or is about to be closed."""
        if connection not in self._owing:
            return
        del self._owing[connection], self._owing_of[connection.source][connection]
        if not self._owing_of[connection.source]:
            del self._owing_of[connection.source]

    def _make_room(self, owing: OrderedDict[Connection, None] | None, where: str) -> bool:
        if time.monotonic() - self._warned_at >= WARNING_SECONDS:
            self._warned_at = time.monotonic()
            logger.warning("there are more connections %s than there may be", where)
        if not owing:
            return False
        next(iter(owing)).cut_off()
        return True


async def _no_application(*_: Any) -> None:
    """Of the middleware that knows which proxies are trusted, nothing else is used."""


@cache
def _connections(proxies: str) -> Connections:
    return Connections(most_connections(), proxies)


class Connection(HttpToolsProtocol):
    """One connection: uvicorn's, with bounds."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._all = _connections(str(self.config.forwarded_allow_ips))
        self.source = ""
        self._head_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._in_head = False
        #: Bytes of the present request that are not of its body.
        self._beside_body = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        address = self.client[0] if self.client else None
        self.source = source_of(address)
        if self._all.enter(self.source, address):
            self._watch_head()
        else:
            self._refuse(503)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._all.leave(self)
        for timer in (self._head_timer, self._write_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def cut_off(self) -> None:
        """Close it now, to make room."""
        self._all.owes_nothing(self)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self.transport.is_closing():
            return
        self._beside_body += len(data)
        super().data_received(data)
        if self._beside_body > MAX_HEAD_BYTES:
            self._refuse(431)
        else:
            self._watch_head()

    def _watch_head(self) -> None:
        """A time limit for what comes while no request is under way: a head, or a body that nobody reads.

        Uvicorn's own holds where an answer has ended and nothing has come since.
        """
        under_way = self.cycle is not None and not self.cycle.response_complete
        if under_way or self.transport.is_closing():
            self._all.owes_nothing(self)
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
        elif self._head_timer is None and self.timeout_keep_alive_task is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self._head_is_late)
            self._all.owes_head(self)

    def _head_is_late(self) -> None:
        if self._in_head:
            self._refuse(408)
        else:
            self._close()

    def on_message_begin(self) -> None:
        """See httptools."""
        self._in_head, self._beside_body = True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools; trailers come here, too."""
        super().on_header(name, value)
        if len(self.headers) > MAX_HEADERS:
            self._refuse(431)

    def on_headers_complete(self) -> None:
        """See httptools: here a request begins."""
        self._in_head = False
        if self.transport.is_closing():
            return
        if len(self.pipeline) >= MAX_PIPELINED:
            self._refuse(503)
        elif len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            self._refuse(431)
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See httptools. What is refused here would else be the body of the request before."""
        self._beside_body = max(0, self._beside_body - BODY_SHARE * len(body))
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        if not self.transport.is_closing():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """See uvicorn: it closes connections that are not kept alive."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._limit_writing()

    def timeout_keep_alive_handler(self) -> None:
        """See uvicorn."""
        self._close()

    def pause_writing(self) -> None:
        """See asyncio.Protocol: the client takes nothing for now."""
        super().pause_writing()
        self._limit_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        if self._write_timer is not None and not self.transport.is_closing():
            self._write_timer.cancel()
            self._write_timer = None

    def _limit_writing(self) -> None:
        if self._write_timer is None:
            self._write_timer = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def _refuse(self, status: int) -> None:
        """Answer in few words, where that cannot be taken for another request's answer; then close."""
        if self.transport.is_closing():
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(STATUS_LINE[status] + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self._close()

    def _close(self) -> None:
        """Close it once what was written is sent; a client that does not take it is not waited for."""
        self._all.owes_nothing(self)
        self.transport.close()
        self._limit_writing()
