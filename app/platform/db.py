"""Engine and sessions. One synchronous style for SQLite and PostgreSQL."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import DateTime, Engine, create_engine, event, func, select, text
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import DeclarativeBase, ORMExecuteState, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from app.platform.settings import get_settings

BUSY_SECONDS = 30.0
"""How long SQLite waits for another writer."""


FIRST_TIME = datetime(1, 1, 3, tzinfo=UTC)
LAST_TIME = datetime(9999, 12, 29, tzinfo=UTC)
"""What is earlier or later is kept as these: every time zone has a date for them, a database's too."""


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware UTC time on both databases (SQLite stores it naive)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        try:
            value = min(max(value.astimezone(UTC), FIRST_TIME), LAST_TIME)
        except OverflowError:  # a time of that zone for which UTC has no year
            value = FIRST_TIME if value.year == FIRST_TIME.year else LAST_TIME
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """Base of all tables."""


def make_engine(url: str, *, wait_seconds: float = BUSY_SECONDS, **options: Any) -> Engine:
    """An engine with what each database needs to be safe. Its errors never tell the values of a statement.

    `wait_seconds`: on SQLite, how long to wait for another writer. `options` as of `create_engine`.

    SQLite: WAL, full durability, foreign keys, and BEGIN IMMEDIATE for every transaction: a read
    that upgrades to a write fails at once with BUSY_SNAPSHOT whatever the timeout is.
    """
    if not url.startswith("sqlite"):
        return _make_postgresql(url, **options)
    arguments = {"timeout": wait_seconds, "check_same_thread": False}
    engine = create_engine(url, connect_args=arguments, hide_parameters=True, **options)

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves
        cursor = connection.cursor()
        if cursor.execute("PRAGMA page_count").fetchone() == (0,):
            # For a file that is made anew, see `shrink`; at any other it would wait for the writer.
            cursor.execute("PRAGMA auto_vacuum=INCREMENTAL")
        cursor.execute(f"PRAGMA journal_size_limit={KEPT_LOG_BYTES}")
        waiting = f"busy_timeout={1000 * wait_seconds:.0f}"
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", waiting):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        # Read-only sessions ask for a deferred BEGIN so that they never wait for a writer.
        mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
        connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


KEPT_LOG_BYTES = 64 * 2**20
"""To which SQLite cuts its write-ahead log when that begins anew."""
PING_AFTER_SECONDS = 1.0
"""A connection that was idle for so long is tried before it is used. Trying it every time costs a read as
much as the read; one that died within the second fails its request, as those under way then do."""


def _make_postgresql(url: str, **options: Any) -> Engine:
    # As many as requests run at once, so that none is opened for a moment's crowd and closed again.
    options = options or {"pool_size": 16, "max_overflow": 16, "pool_use_lifo": True}
    engine = create_engine(url, hide_parameters=True, **options)

    @event.listens_for(engine, "checkin")
    def on_checkin(_connection: Any, record: Any) -> None:
        record.info["used"] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def on_checkout(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get("used", time.monotonic()) < PING_AFTER_SECONDS:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise DisconnectionError from error  # the pool opens another and asks again

    return engine


@cache
def get_engine() -> Engine:
    """The process's engine. Never carried over a fork: call `dispose_engine` in the child."""
    settings = get_settings()
    if settings.database_url is None:
        settings.home.mkdir(parents=True, exist_ok=True)
    return make_engine(settings.resolved_database_url)


@cache
def session_factory() -> sessionmaker[Session]:
    """Sessions of the process's engine; objects stay readable after commit."""
    return sessionmaker(get_engine(), expire_on_commit=False)


def dispose_engine() -> None:
    """Forget the engine and its connections (after a fork, or in tests)."""
    if get_engine.cache_info().currsize:
        get_engine().dispose(close=False)
    session_factory.cache_clear()
    get_engine.cache_clear()


@contextmanager
def session_scope() -> Iterator[Session]:
    """One short write transaction: commit at the end, roll back on any error."""
    with session_factory()() as session, session.begin():
        yield session


@contextmanager
def read_scope() -> Iterator[Session]:
    """One short read; on SQLite it never waits for a writer. Writing through it is an error.

    On PostgreSQL every statement stands for itself, which spares two round trips; at its level of isolation
    each sees what is committed when it begins either way.
    """
    with session_factory()(info={"read_only": True}) as session:
        if session.get_bind().dialect.name == "sqlite":
            session.connection(execution_options={"sqlite_begin": "DEFERRED"})
        else:
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
        yield session


@event.listens_for(Session, "before_flush")
def _no_write_when_reading(session: Session, _context: Any, _instances: Any) -> None:
    if session.info.get("read_only"):
        raise RuntimeError("a write through a session that only reads")


@event.listens_for(Session, "do_orm_execute")
def _no_statement_that_writes(state: ORMExecuteState) -> None:
    writes = state.is_insert or state.is_update or state.is_delete
    if writes and state.session.info.get("read_only"):
        raise RuntimeError("a write through a session that only reads")


INCREMENTAL = 2
KEPT_PAGES, MOVED_PAGES = 4096, 512
"""Free pages of a SQLite file that stay for what comes next, and those that are moved in one transaction."""
CHECKPOINT_MILLISECONDS = 200


def shrink() -> None:
    """Give what SQLite holds for deleted rows back to the disk, a little at a time. Others write in between.

    A file of an earlier version keeps its size (`PRAGMA auto_vacuum` there is 0), and PostgreSQL sees to it
    by itself.
    """
    if get_engine().dialect.name != "sqlite":
        return
    with contextlib.closing(get_engine().raw_connection()) as connection:
        cursor = connection.cursor()
        (mode,) = cursor.execute("PRAGMA auto_vacuum").fetchone()
        while mode == INCREMENTAL and cursor.execute("PRAGMA freelist_count").fetchone()[0] > KEPT_PAGES:
            begun = time.monotonic()
            # `execute` would take one step of it, which moves one page.
            cursor.executescript(f"PRAGMA incremental_vacuum({MOVED_PAGES})")
            time.sleep(time.monotonic() - begun)
        # Whoever reads holds it up, and nobody writes meanwhile: then it is left to the next time.
        cursor.execute(f"PRAGMA busy_timeout={CHECKPOINT_MILLISECONDS}")
        try:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            cursor.execute(f"PRAGMA busy_timeout={1000 * BUSY_SECONDS:.0f}")


def hold(session: Session, name: str) -> None:
    """Let transactions that hold the same name run one after the other, each to its end.

    Before a transaction locks rows: one that held a row already could wait for one that waits for that row.
    SQLite has one writer as it is.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))


def database_now(session: Session) -> datetime:
    """The database's clock, in UTC: the only clock that leases and back-offs use."""
    if session.get_bind().dialect.name == "sqlite":
        value = session.scalar(text("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"))
        return datetime.fromisoformat(str(value)).replace(tzinfo=UTC)
    now = session.scalar(select(func.clock_timestamp()))
    assert isinstance(now, datetime)
    return now.astimezone(UTC)
