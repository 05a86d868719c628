"""`python -m worker.healthy`: the beat of this machine's worker, and a database that cannot be asked."""

import socket
import sys
from datetime import timedelta

import pytest

from app.models import WorkerBeat
from app.platform.db import database_now, dispose_engine, session_scope
from worker import healthy
from worker.heartbeat import beat


@pytest.fixture
def asked(monkeypatch):
    """The exit code for these options."""

    def ask(*options: str) -> int:
        monkeypatch.setattr(sys, "argv", ["healthy", *options])
        return healthy.main()

    return ask


def test_only_a_beat_of_this_machine_counts(each_database, asked, capsys, monkeypatch):
    assert asked() == 1
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(socket, "gethostname", lambda: "another")
        beat()
    assert asked() == 1
    assert "no worker of this machine" in capsys.readouterr().err
    beat()
    assert asked() == 0


def test_an_old_beat_is_none(database, asked):
    beat()
    with session_scope() as session:
        for row in session.query(WorkerBeat):
            row.seen_at = database_now(session) - timedelta(minutes=5)
    assert asked() == 1
    assert asked("--unless-away") == 1


def test_a_database_that_is_away(home, asked, capsys, monkeypatch):
    monkeypatch.setenv("DFAD_DATABASE_URL", "postgresql+psycopg://dfad:secret@127.0.0.1:1/dfad")
    assert asked() == 1
    assert asked("--unless-away") == 0
    assert "secret" not in capsys.readouterr().err
    dispose_engine()
