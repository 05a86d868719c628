# Made from dfad_client/aio/stream.py by `python tools/sync_twin.py`: change that one, and run it.
"""A job's events as they happen, over any number of connections: none lost, none twice."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import closing
from typing import Any

import httpx2

from dfad_client.answers import TERMINAL_STATUSES, Event
from dfad_client.errors import ConnectionFailed
from dfad_client.retrying import Retryable
from dfad_client.sync.transport import Transport

#: The server sends a comment every few seconds; silence this long means a dead connection.
SILENCE_SECONDS = 60.0


def stream_events(transport: Transport, job_id: str, after: int = 0) -> Generator[Event, None]:
    """Yield the events with `seq` above `after`, up to and with the terminal one.

    A connection that breaks is opened again with Last-Event-ID; tries are counted anew after every
    event, for a long job may lose its connection often. Raises ApiError or ConnectionFailed.
    """
    seen, attempts = after, transport.attempts()
    while True:
        try:
            with closing(_one_connection(transport, job_id, seen)) as events:
                for event in events:
                    if event.seq <= seen:
                        continue
                    seen = event.seq
                    attempts.progress()
                    yield event
                    if event.terminal:
                        return
            # Closed in good order, without a terminal event: perhaps it was seen before `after`.
            job = transport.json("GET", f"/jobs/{job_id}")
            if job["status"] in TERMINAL_STATUSES and seen >= after > 0:
                return
            raise Retryable(ConnectionFailed(f"{transport.base_url} keeps closing the stream of {job_id}."))
        except Retryable as again:
            attempts.wait(again)


def _one_connection(transport: Transport, job_id: str, seen: int) -> Generator[Event, None]:
    headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
    if seen:
        headers["Last-Event-ID"] = str(seen)
    timeout = httpx2.Timeout(SILENCE_SECONDS, connect=10.0)
    with transport.stream(f"/jobs/{job_id}/events", headers, timeout=timeout) as response:
        try:
            for message in httpx2.EventSource(response):
                if message.data:  # what has no data only keeps the connection alive
                    yield _event(message.id, message.event, json.loads(message.data))
        except (httpx2.SSEError, ValueError, KeyError, TypeError) as error:
            raise ConnectionFailed(f"{transport.base_url} sent no stream of events ({error}).") from error


def _event(seq: str, kind: str, body: dict[str, Any]) -> Event:
    """An event from its frame: `id` and `event` of the frame complete a body that lacks them."""
    return Event.of({"seq": seq, "type": kind, **body})
