"""Engine and sessions. One synchronous style for SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any

from sqlalchemy import DateTime, Engine, create_engine, event, func, select, text
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.types import TypeDecorator

from app.config import get_settings


class UtcDateTime(TypeDecorator[datetime]):
    """A timezone-aware UTC time on both databases (SQLite stores it naive)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


class Base(DeclarativeBase):
    """Base of all tables."""


def make_engine(url: str) -> Engine:
    """An engine with what each database needs to be safe.

    SQLite: WAL, full durability, foreign keys, and BEGIN IMMEDIATE for every transaction: a read
    that upgrades to a write fails at once with BUSY_SNAPSHOT whatever the timeout is.
    """
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20)
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # we begin transactions ourselves
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=30000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Any) -> None:
        # Read-only sessions ask for a deferred BEGIN so that they never wait for a writer.
        mode = connection.get_execution_options().get("sqlite_begin", "IMMEDIATE")
        connection.exec_driver_sql(f"BEGIN {mode}")

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
    """One short read; on SQLite it never waits for a writer. Writing through it is an error."""
    with session_factory()() as session:
        session.connection(execution_options={"sqlite_begin": "DEFERRED"})
        yield session


def database_now(session: Session) -> datetime:
    """The database's clock, in UTC: the only clock that leases and back-offs use."""
    if session.get_bind().dialect.name == "sqlite":
        value = session.scalar(text("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"))
        return datetime.fromisoformat(str(value)).replace(tzinfo=UTC)
    now = session.scalar(select(func.clock_timestamp()))
    assert isinstance(now, datetime)
    return now.astimezone(UTC)
