"""Sessions as both databases give them."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
from sqlalchemy import delete, select, text

from app.models import Teacher
from app.platform.db import database_now, get_engine, make_engine, read_scope, session_scope
from app.platform.ids import new_id


def teacher(now: datetime) -> Teacher:
    return Teacher(
        id=new_id("tch"), tenant_id="local", artifact_id="a", filename="t", spec={}, status="ready",
        created_at=now,
    )  # fmt: skip


def test_a_reading_session_refuses_every_way_of_writing(each_database: str) -> None:
    with session_scope() as session:
        now = database_now(session)
    row = teacher(now)
    with read_scope() as session:
        session.add(row)
        with pytest.raises(RuntimeError, match="only reads"):
            session.flush()
    with pytest.raises(RuntimeError, match="only reads"), read_scope() as session:
        session.execute(delete(Teacher))


def test_a_session_that_writes_after_one_that_read_is_a_transaction_again(each_database: str) -> None:
    """The connection comes from the same pool, where statements of the reader stood for themselves."""
    with read_scope() as session:
        session.execute(select(Teacher))

    def broken_off() -> None:
        with session_scope() as session:
            session.add(teacher(database_now(session)))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken_off()
    with read_scope() as session:
        assert session.scalars(select(Teacher)).all() == []


def test_a_connection_that_died_while_idle_is_replaced(
    each_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guard tried: without the ping the second read fails with "terminating connection"."""
    if not each_database.startswith("postgresql"):
        pytest.skip("only a server can end a connection")
    monkeypatch.setattr("app.platform.db.PING_AFTER_SECONDS", 0.0)
    with read_scope() as session:
        mine = session.scalar(text("SELECT pg_backend_pid()"))
    with get_engine().connect().execution_options(isolation_level="AUTOCOMMIT") as other:
        assert other.scalar(text("SELECT pg_backend_pid()")) == mine
        with get_engine().connect() as another:
            another.execute(text(f"SELECT pg_terminate_backend({mine})"))
    with read_scope() as session:
        assert session.scalar(text("SELECT 1")) == 1


def test_a_new_connection_does_not_wait_for_the_writer(database: str) -> None:
    with session_scope() as session:
        session.execute(text("SELECT 1"))  # holds the one writer
        engine = make_engine(database)
        begun = time.monotonic()
        with engine.connect().execution_options(sqlite_begin="DEFERRED") as connection:
            connection.execute(text("SELECT 1"))
        engine.dispose()
    assert time.monotonic() - begun < 10
