"""The outbox: what a commit owes the broker arrives, however the broker fares."""

import json
import signal
from datetime import timedelta

import pytest
from sqlalchemy import select

from app.jobs.lifecycle import RUN_JOB, owe_message
from app.messaging import dispatch
from app.models import OutboxMessage
from app.platform.db import database_now, read_scope, session_scope
from app.platform.settings import get_settings


def owe(subject_id: str, delay: float = 0) -> None:
    with session_scope() as session:
        owe_message(session, RUN_JOB, subject_id, database_now(session) + timedelta(seconds=delay))


def owed() -> list[str]:
    with read_scope() as session:
        return sorted(session.scalars(select(OutboxMessage.subject_id)))


def in_files() -> list[str]:
    """Task arguments that lie in the embedded broker."""
    folder = get_settings().broker_folder / "queue"
    bodies = [json.loads(f.read_text()) for f in folder.glob("*.msg")]
    return sorted(json.loads(b["headers"]["argsrepr"].replace("'", '"'))[0] for b in bodies)


def test_due_messages_go_to_the_embedded_broker_and_leave_the_outbox(database):
    owe("job_a")
    owe("job_b")
    owe("job_later", delay=3600)
    assert dispatch.send_due() == 2
    assert owed() == ["job_later"]
    assert in_files() == ["job_a", "job_b"]
    assert dispatch.send_due() == 0


def test_a_broker_that_is_away_keeps_the_outbox(database, monkeypatch):
    owe("job_a")
    with monkeypatch.context() as patch:
        patch.setattr(dispatch, "producer", _Away)
        assert dispatch.send_due() == 0
    assert owed() == ["job_a"]
    assert dispatch.send_due() == 1


class _Away:
    def send_task(self, *_, **__):
        raise ConnectionRefusedError("nobody there")


def test_no_redis_at_all_is_told_soon_and_nothing_is_lost(database, monkeypatch):
    monkeypatch.setenv("DFAD_BROKER_URL", "redis://127.0.0.1:1/0")
    get_settings.cache_clear()
    owe("job_a")
    assert dispatch.send_due() == 0
    assert owed() == ["job_a"]


@pytest.mark.services
def test_redis_dies_and_comes_back(database, monkeypatch, redis_server):
    monkeypatch.setenv("DFAD_BROKER_URL", redis_server.url)
    get_settings.cache_clear()
    owe("job_a")
    assert dispatch.send_due() == 1
    redis_server.kill()
    owe("job_b")
    for _ in range(2):  # over the connection that is torn, and over none
        assert dispatch.send_due() == 0
    assert owed() == ["job_b"]
    redis_server.start()
    assert dispatch.send_due() == 1
    assert owed() == []


@pytest.mark.services
def test_a_redis_that_hangs_delays_only(database, monkeypatch, redis_server):
    monkeypatch.setenv("DFAD_BROKER_URL", redis_server.url)
    get_settings.cache_clear()
    dispatch.producer().conf.broker_transport_options["socket_timeout"] = 0.5
    owe("job_a")
    assert dispatch.send_due() == 1
    redis_server.signal(signal.SIGSTOP)
    try:
        owe("job_b")
        assert dispatch.send_due() == 0
    finally:
        redis_server.signal(signal.SIGCONT)
    assert dispatch.send_due() == 1
