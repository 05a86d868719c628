"""Threads that look at database, broker and storage, so that `/readyz` can answer at once.

A request that looked for itself would wait with all others for a database that is locked. Each part has a
thread, connections and time limits of its own: one that does not answer ages alone. The thread of the
database also reads the quotas that were set meanwhile, and writes down how many requests each tenant made.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, cast

import anyio
from kombu.connection import Connection
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from app.access.usage import quota_store
from app.access.usage.requests import RequestCounts, add_requests
from app.messaging.broker import broker_settings
from app.platform.db import make_engine
from app.platform.settings import Settings
from app.storage import ArtifactStore, make_store
from app.workers.seen import live_workers

logger = logging.getLogger(__name__)

LOOK_SECONDS = 3.0
"""Between two looks at a part that is well; one that is not is looked at more often."""
SOON_SECONDS = 1.0
WAIT_SECONDS = 2.0
"""For a part's answer."""
FIRST_SECONDS = 1.0
STALE_SECONDS = 10.0
"""What was seen so long ago counts as away: whoever looks waits for an answer."""
OK, AWAY = "ok", "away"
States = Mapping[str, str]


@dataclass(frozen=True)
class Seen:
    """One part as it was seen last."""

    state: str
    """`ok`, or what is wrong."""
    seconds_ago: float | None
    """None: nobody has seen it yet."""


class _Look(threading.Thread):
    """Looks at one part again and again."""

    def __init__(self, names: tuple[str, ...], look: Callable[[], States]) -> None:
        super().__init__(name=f"watcher-{names[0]}", daemon=True)
        self.names = names
        self._look = look
        self._end = threading.Event()
        self._seen: tuple[States, float] | None = None

    def run(self) -> None:
        """Until `close`."""
        while True:
            states = self._states()
            self._seen = states, time.monotonic()  # one assignment: readers need no lock
            well = all(state == OK for state in states.values())
            if self._end.wait(LOOK_SECONDS if well else SOON_SECONDS):
                return

    def _states(self) -> States:
        try:
            return self._look()
        except Exception as error:  # noqa: BLE001  (whatever it is: the part is not there)
            logger.debug("%s: %s", self.name, type(error).__name__)
            return {self.names[0]: AWAY, **dict.fromkeys(self.names[1:], "unknown")}

    def seen(self) -> dict[str, Seen]:
        """By name, without any waiting."""
        if self._seen is None:
            return dict.fromkeys(self.names, Seen(AWAY, None))
        states, at = self._seen
        age = time.monotonic() - at
        return {name: Seen(states[name] if age < STALE_SECONDS else AWAY, age) for name in self.names}

    def close(self) -> None:
        """End after the present look."""
        self._end.set()


class Watcher:
    """The server process's watcher of everything that it needs."""

    def __init__(self, settings: Settings, requests: RequestCounts) -> None:
        """`requests` is written down with each look at the database, and at the end."""
        self._settings, self._requests = settings, requests
        self._looks = _looks(settings, requests)

    async def start(self) -> None:
        """Begin to look, again after `close`.

        A moment is left to the first looks, so that the first answers tell something.
        """
        self._looks = _looks(self._settings, self._requests)
        for look in self._looks:
            look.start()
        with anyio.move_on_after(FIRST_SECONDS):
            while any(seen.seconds_ago is None for seen in self.seen().values()):
                await anyio.sleep(0.01)

    def seen(self) -> dict[str, Seen]:
        """Every part as it was seen last; this waits for nothing."""
        return {name: seen for look in self._looks for name, seen in look.seen().items()}

    def close(self) -> None:
        """End; a look that hangs is left to itself."""
        for look in self._looks:
            look.close()
        try:
            _write(_engine(self._settings), self._requests)
        except SQLAlchemyError as error:
            logger.warning("the last requests are not counted (%s)", type(error).__name__)


def _looks(settings: Settings, requests: RequestCounts) -> tuple[_Look, ...]:
    # Made when they are first looked at: what cannot be made is away.
    engine, stores = cache(partial(_engine, settings)), cache(partial(_stores, settings))
    return (
        _Look(("database", "worker"), lambda: _served(engine(), requests)),
        _Look(("broker",), lambda: _broker(settings)),
        _Look(("storage",), lambda: _storage(stores())),
    )


def _engine(settings: Settings) -> Engine:
    """It opens a connection for each look, and does not wait long for it."""
    options: dict[str, Any] = {"poolclass": NullPool}
    if not settings.resolved_database_url.startswith("sqlite"):
        gone = {"keepalives_idle": 5, "tcp_user_timeout": 5000}  # a machine that says nothing any more
        options["connect_args"] = {"connect_timeout": round(WAIT_SECONDS), **gone}
    return make_engine(settings.resolved_database_url, wait_seconds=WAIT_SECONDS, **options)


def _stores(settings: Settings) -> list[ArtifactStore]:
    """That of new bytes, and the object store wherever there may be bytes in it."""
    names = {settings.artifact_store, *(() if settings.s3_url is None else ("s3",))}
    return [make_store(settings, name, wait_seconds=WAIT_SECONDS) for name in sorted(names)]


def _served(engine: Engine, requests: RequestCounts) -> States:
    """States of the database, once it was given what is to be written down and asked what has changed."""
    states = _database(engine)
    if states["database"] == OK:
        try:
            with Session(engine, info={"read_only": True}) as session:
                _bound(session)
                quota_store.refresh(session)
            _write(engine, requests)
        except SQLAlchemyError as error:
            logger.warning("quotas and requests wait for the next look (%s)", type(error).__name__)
    return states


def _write(engine: Engine, requests: RequestCounts) -> None:
    with requests.taken() as taken:
        if taken:
            with Session(engine) as session, session.begin():
                _bound(session)
                add_requests(session, taken)


def _bound(session: Session) -> None:
    """Wait no longer than WAIT_SECONDS for what is locked; SQLite's connections have that from the start."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text(f"SET LOCAL statement_timeout = {1000 * WAIT_SECONDS:.0f}"))


def _database(engine: Engine) -> States:
    """Of the database, and of the workers that it knows; on SQLite also whether anybody else can write."""
    try:
        with Session(engine, info={"read_only": True}) as session:
            _bound(session)
            problem = _revision_problem(session)
            if problem is not None:
                return {"database": problem, "worker": "unknown"}
            alive = OK if live_workers(session) else "none is alive"
            return {"database": OK, "worker": alive}
    except OperationalError as error:
        locked = "database is locked" in str(error.orig)
        state = "locked: another process writes and does not end" if locked else AWAY
        return {"database": state, "worker": "unknown"}


def _revision_problem(session: Session) -> str | None:
    """What is wrong with the tables: of an older or a newer version, or none."""
    from alembic.migration import MigrationContext

    known, head = _revisions()
    heads = MigrationContext.configure(session.connection()).get_current_heads()
    if heads == (head,):
        return None
    if set(heads) - known:
        return f"newer: its revision {', '.join(heads)} is of a newer version of the server"
    return "not_migrated: run `python -m app.migrate`"


@cache
def _revisions() -> tuple[frozenset[str], str | None]:
    """All revisions that this version knows, and the newest."""
    from alembic.script import ScriptDirectory

    from app.migrate import alembic_config

    scripts = ScriptDirectory.from_config(alembic_config())
    return frozenset(script.revision for script in scripts.walk_revisions()), scripts.get_current_head()


def _broker(settings: Settings) -> States:
    about = broker_settings(settings)
    options = about["broker_transport_options"]
    assert isinstance(options, dict)
    quick = {**options, "socket_timeout": WAIT_SECONDS, "socket_connect_timeout": WAIT_SECONDS}
    url, open_connection = settings.resolved_broker_url, cast(Any, Connection)
    with open_connection(url, transport_options=quick) as connection:
        connection.ensure_connection(max_retries=1, timeout=WAIT_SECONDS)
    return {"broker": OK}


def _storage(stores: list[ArtifactStore]) -> States:
    for store in stores:
        store.check()
    return {"storage": OK}
