"""A job's log as server-sent events."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator

import anyio
from anyio.lowlevel import RunVar
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from app.access.keys.principal import Principal
from app.access.quotas import exceeded
from app.jobs.news import BATCH, get_news
from app.platform.settings import get_settings

RETRY = b"retry: 1000\r\n"
"""Milliseconds after which a browser that lost its connection comes back; its own idea is several seconds."""
GRACE_SECONDS = 2.0
"""From the server's end until streams are cut; they need a moment to close in good order."""
LOOK_SECONDS = 0.5
"""Between two looks whether the server ends."""
STREAMS_A_KEY, STREAMS_A_TENANT = 256, 512
"""Open at once on one server process."""
RETRY_SECONDS = 10

_streams: RunVar[Counter[tuple[str, str | None]]] = RunVar("_streams")


class EventStream(EventSourceResponse):
    """The answer. Raises ServiceError 429 where the key or its tenant has as many open as it may."""

    def __init__(self, job_id: str, after: int, principal: Principal) -> None:
        self._places = _places(principal)
        check_room(principal)
        server_ends = anyio.Event()
        super().__init__(
            stream(job_id, after, principal, server_ends),
            ping=get_settings().sse_keep_alive_seconds,
            shutdown_event=server_ends,
            shutdown_grace_period=GRACE_SECONDS,
        )
        _open_streams().update(self._places)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it; then its place is free for another."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            counted = _open_streams()
            for place in self._places:
                counted[place] -= 1
                if counted[place] <= 0:
                    del counted[place]


def check_room(principal: Principal) -> None:
    """Raise ServiceError 429 where the key or its tenant has as many streams open as it may."""
    counted = _open_streams()
    for place, most in zip(_places(principal), (STREAMS_A_TENANT, STREAMS_A_KEY), strict=True):
        if counted[place] >= most:
            whose = "a tenant" if place[1] is None else "a key"
            raise exceeded(f"event streams of {whose}", most, retry_seconds=RETRY_SECONDS)


def _places(principal: Principal) -> tuple[tuple[str, str | None], tuple[str, str | None]]:
    return (principal.tenant_id, None), (
        principal.tenant_id,
        principal.key_id or principal.person or "operator",
    )


def _open_streams() -> Counter[tuple[str, str | None]]:
    """Open streams of this event loop, by tenant, and by tenant and key."""
    try:
        return _streams.get()
    except LookupError:
        counted: Counter[tuple[str, str | None]] = Counter()
        _streams.set(counted)
        return counted


async def stream(
    job_id: str, after: int, principal: Principal, server_ends: anyio.Event
) -> AsyncIterator[bytes]:
    """Everything past `after` and then whatever happens, until the job's last event or the server's end.

    It ends, too, soon after the key it was asked for with is revoked or expires. Between news neither a
    thread nor a transaction is held. The event id is `seq`, so a client that comes back with Last-Event-ID
    misses nothing and sees nothing twice.
    """
    retry, seq, news = RETRY, after, get_news()
    with news.opened_by(principal), news.watching(job_id, stream=True) as job:
        while True:
            events, complete = job.after(seq) or await news.read(job_id, seq)
            if not news.is_open(principal):
                return
            if events:
                seq = events[-1].seq
                # In one piece: hundreds of streams may be told of hundreds of events at a time.
                yield retry + b"".join(event.wire for event in events)
                retry = b""
            if complete or server_ends.is_set():
                return
            if len(events) >= BATCH:
                continue
            while not job.has_news(seq) and not server_ends.is_set() and news.is_open(principal):
                with anyio.move_on_after(LOOK_SECONDS):
                    await job.changed.wait()
