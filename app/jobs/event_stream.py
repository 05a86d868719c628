"""A job's log as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
from sqlalchemy import select
from sse_starlette import ServerSentEvent

from app.config import get_settings
from app.db import read_scope
from app.jobs.lifecycle import is_terminal
from app.jobs.views import EventView, event_view
from app.models import Job, JobEvent
from app.reading import run_read

BATCH = 200
RETRY_MILLISECONDS = 1000
"""After which a browser that lost its connection comes back; its own idea is several seconds."""


def events_after(job_id: str, seq: int, limit: int) -> tuple[list[EventView], bool]:
    """Events past `seq`, oldest first, and whether the log is complete with them."""
    with read_scope() as session:
        job = session.get(Job, job_id)
        query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.seq > seq)
        events = [event_view(e) for e in session.scalars(query.order_by(JobEvent.seq).limit(limit))]
    if job is None:
        return events, True
    last = events[-1].seq if events else seq
    return events, is_terminal(job.status) and last >= job.last_seq


async def stream(job_id: str, after: int, server_ends: anyio.Event) -> AsyncIterator[ServerSentEvent]:
    """Everything past `after` and then whatever happens, until the job's last event or the server's end.

    Between looks neither a thread nor a transaction is held. The event id is `seq`, so a client that
    comes back with Last-Event-ID misses nothing and sees nothing twice.
    """
    retry: int | None = RETRY_MILLISECONDS  # told with the first event
    seq = after
    while True:
        events, complete = await run_read(events_after, job_id, seq, BATCH)
        for event in events:
            seq = event.seq
            yield ServerSentEvent(event.model_dump_json(), event=event.type, id=str(event.seq), retry=retry)
            retry = None
        if complete or server_ends.is_set():
            return
        if len(events) < BATCH:
            with anyio.move_on_after(get_settings().sse_poll_seconds):
                await server_ends.wait()
