"""News of jobs for everybody who waits for some: one look at the database for all of them.

Event streams and long polls wait here. However many there are, a server process asks for the state of their
jobs a few times a second in one query, reads each new event once, and hands it to all who watch its job.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sse_starlette import ServerSentEvent

from app.access.keys.principal import Principal
from app.access.still_open import open_credentials
from app.http.waiting import LOOK_SECONDS, stopping
from app.jobs.lifecycle import is_terminal
from app.jobs.views import EventView, event_view
from app.models import Job, JobEvent
from app.models.tenancy import as_system
from app.platform.db import read_scope

logger = logging.getLogger(__name__)

BATCH = 200
RECENT_EVENTS = 1000
"""Of one job, for those who watch it. Who is further behind reads for itself."""
KEY_SECONDS = 2.0
"""Between two looks whether the keys of those who watch are still good."""
LOOKED_UP_AT_ONCE = 1000


@dataclass(frozen=True)
class Mark:
    """How far a job is: what those who wait compare."""

    tenant_id: str
    status: str
    last_seq: int


@dataclass(frozen=True)
class StreamEvent:
    """One event, written out once for all who get it."""

    seq: int
    wire: bytes


def stream_event(event: EventView) -> StreamEvent:
    """The event as a stream sends it."""
    written = ServerSentEvent(event.model_dump_json(), event=event.type, id=str(event.seq))
    return StreamEvent(event.seq, written.encode())


@dataclass
class JobNews:
    """One job that somebody waits for."""

    watchers: int = 0
    streams: int = 0
    looked_at: bool = False
    mark: Mark | None = None
    """None where there is no such job, or none was looked for yet."""
    recent: deque[StreamEvent] = field(default_factory=lambda: deque(maxlen=RECENT_EVENTS))
    changed: anyio.Event = field(default_factory=anyio.Event)

    def after(self, seq: int) -> tuple[list[StreamEvent], bool] | None:
        """Events past `seq`, and whether the log is complete with them; None where they are not here."""
        if not self.recent or not self.recent[0].seq <= seq + 1 <= self.recent[-1].seq:
            return None
        events = [event for event in self.recent if event.seq > seq]
        over = self.mark is None or (is_terminal(self.mark.status) and events[-1].seq >= self.mark.last_seq)
        return events, over

    def has_news(self, seq: int) -> bool:
        """Whether there may be events past `seq`, or no more will come."""
        if not self.looked_at:
            return False
        return self.mark is None or self.mark.last_seq > seq or is_terminal(self.mark.status)

    def wake(self) -> None:
        """Let everybody look who waits."""
        self.changed.set()
        self.changed = anyio.Event()


class News:
    """Of one event loop. Its task runs while somebody waits."""

    def __init__(self) -> None:
        self._jobs: dict[str, JobNews] = {}
        self._keys: dict[str, int] = {}
        self._closed: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._reading: dict[tuple[str, int], asyncio.Task[tuple[list[StreamEvent], bool]]] = {}
        self._line = CapacityLimiter(1)

    @contextmanager
    def watching(self, job_id: str, *, stream: bool = False) -> Iterator[JobNews]:
        """The job's news for as long as the block lasts."""
        job = self._jobs.setdefault(job_id, JobNews())
        job.watchers += 1
        job.streams += stream
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        try:
            yield job
        finally:
            job.watchers -= 1
            job.streams -= stream
            if not job.watchers:
                del self._jobs[job_id]

    @contextmanager
    def opened_by(self, principal: Principal) -> Iterator[None]:
        """While the block lasts, `is_open` says whether the principal's key is still good."""
        key = principal.credential
        self._keys[key] = self._keys.get(key, 0) + 1
        try:
            yield
        finally:
            self._keys[key] -= 1
            if not self._keys[key]:
                del self._keys[key]
                self._closed.discard(key)

    def is_open(self, principal: Principal) -> bool:
        """Whether the key was good a moment ago."""
        return principal.credential not in self._closed

    def knows(self, job_id: str, tenant_id: str) -> bool:
        """Whether somebody watches the job, and it is the tenant's."""
        job = self._jobs.get(job_id)
        return job is not None and job.mark is not None and job.mark.tenant_id == tenant_id

    async def read(self, job_id: str, seq: int) -> tuple[list[StreamEvent], bool]:
        """Events past `seq` from the database, as `JobNews.after`.

        One read at a time, and one for all who ask for the same at the same moment.
        """
        reading = self._reading.get((job_id, seq))
        if reading is None:
            reading = asyncio.create_task(self._read(job_id, seq))
            self._reading[job_id, seq] = reading
        return await asyncio.shield(reading)  # whoever goes away leaves it to the others

    async def _read(self, job_id: str, seq: int) -> tuple[list[StreamEvent], bool]:
        try:
            return await to_thread.run_sync(_read, job_id, seq, limiter=self._line)
        finally:
            del self._reading[job_id, seq]

    async def _run(self) -> None:
        checked = time.monotonic()
        while self._jobs:
            try:
                await self._look()
                if time.monotonic() - checked >= KEY_SECONDS:
                    checked = time.monotonic()
                    await self._check_keys()
            except SQLAlchemyError as error:
                logger.warning("the database is away (%s); who waits for news goes on", type(error).__name__)
            except Exception:
                # A look that fails must not end all looks to come.
                logger.exception("a look for news failed")
            await anyio.sleep(LOOK_SECONDS)
            if stopping.is_set():
                for job in list(self._jobs.values()):
                    job.wake()

    async def _look(self) -> None:
        marks = await to_thread.run_sync(_marks, list(self._jobs), limiter=self._line)
        for job_id, job in list(self._jobs.items()):
            if job_id not in marks:  # watched since
                continue
            mark = marks[job_id]
            if job.looked_at and job.mark == mark:
                continue
            if job.streams and mark is not None and job.looked_at and job.mark is not None:
                await self._pass_on(job_id, job, mark)
            job.looked_at, job.mark = True, mark
            job.wake()

    async def _pass_on(self, job_id: str, job: JobNews, mark: Mark) -> None:
        """Read what is new, once for all who watch. What does not fit they read for themselves."""
        assert job.mark is not None
        seq = job.recent[-1].seq if job.recent else job.mark.last_seq
        while seq < mark.last_seq and mark.last_seq - seq <= RECENT_EVENTS:
            events, _ = await self.read(job_id, seq)
            if not events:
                return
            job.recent.extend(events)
            seq = events[-1].seq
        if seq < mark.last_seq:
            job.recent.clear()

    async def _check_keys(self) -> None:
        keys = set(self._keys)
        still = await to_thread.run_sync(open_credentials, keys, limiter=self._line)
        closed = (keys & self._keys.keys()) - still
        if closed - self._closed:
            self._closed |= closed
            for job in list(self._jobs.values()):
                job.wake()


def _marks(job_ids: Sequence[str]) -> dict[str, Mark | None]:
    marks: dict[str, Mark | None] = dict.fromkeys(job_ids)
    with as_system(), read_scope() as session:
        for start in range(0, len(job_ids), LOOKED_UP_AT_ONCE):
            some = job_ids[start : start + LOOKED_UP_AT_ONCE]
            query = select(Job.id, Job.tenant_id, Job.status, Job.last_seq).where(Job.id.in_(some))
            marks |= {row.id: Mark(*row[1:]) for row in session.execute(query)}
    return marks


def progress_mark(job_id: str) -> Mark | None:
    """How far the job is; None if it is not there."""
    return _marks([job_id])[job_id]


def _read(job_id: str, seq: int) -> tuple[list[StreamEvent], bool]:
    with as_system():
        events, complete = events_after(job_id, seq, BATCH)
    return [stream_event(event) for event in events], complete


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


_news: RunVar[News] = RunVar("_news")


def get_news() -> News:
    """That of this event loop."""
    try:
        return _news.get()
    except LookupError:
        news = News()
        _news.set(news)
        return news


async def wait_for(job_id: str, met: Callable[[Mark | None], bool], seconds: float) -> None:
    """Until `met` holds for the job, the server ends, or so long. Holds no thread, however many wait."""
    if seconds <= 0:
        return
    with get_news().watching(job_id) as job, anyio.move_on_after(seconds):
        while not stopping.is_set():
            changed = job.changed
            if job.looked_at and met(job.mark):
                return
            await changed.wait()
