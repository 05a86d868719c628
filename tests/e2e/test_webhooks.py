"""Real workers, a real receiver that fails in every way: the same id again and again, and nothing is lost."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import select
from standardwebhooks import Webhook as Official

from app.jobs import lifecycle
from app.messaging.dispatch import send_due
from app.models import WebhookDelivery
from app.platform.db import read_scope, session_scope
from app.platform.settings import get_settings
from app.webhooks import service
from app.webhooks.schemas import WebhookRequest
from testing.processes import wait_until
from testing.workers import Workers
from tests.app.webhooks.conftest import Receiver

SETTINGS = {
    "DFAD_WEBHOOK_ALLOW": '["127.0.0.0/8"]',
    "DFAD_WEBHOOK_TIMEOUT_SECONDS": "2",
    "DFAD_WEBHOOK_RETRY_SECONDS": json.dumps([0.3] * 20),
    "DFAD_WEBHOOK_SENDERS": "3",
}
FAULTS = 2
"""So many of the first tries fail at each path."""


class Faulty(Receiver):
    """/error answers 500; /hang nothing, for longer than a sender waits; /drop takes it and hangs up."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = self.act
        self.held = False
        """Whether /hold answers nothing."""

    def act(self, handler: Any) -> None:
        tries = len(self.of(handler.path))
        if handler.path == "/hold":
            while self.held:
                time.sleep(0.05)
        elif tries <= FAULTS:
            if handler.path == "/error":
                return self.say(handler, 500)
            if handler.path == "/hang":
                time.sleep(2.5)
            if handler.path == "/drop":
                return handler.connection.close()
        return self.say(handler, 204)

    def of(self, path: str) -> list[tuple[str, bytes]]:
        """Id and body of every try that came to `path`."""
        return [(headers["webhook-id"], body) for where, headers, body in list(self.got) if where == path]


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch, short_leases: None) -> Iterator[Faulty]:
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()
    made = Faulty()
    yield made
    made.held = False
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def hook(faulty: Faulty) -> Callable[..., str]:
    def make(path: str, *events: str) -> str:
        asked = {"url": f"http://127.0.0.1:{faulty.port}{path}", "events": events}
        return service.create("local", WebhookRequest.model_validate(asked), None)

    return make


def deliveries() -> list[WebhookDelivery]:
    with read_scope() as session:
        return list(session.scalars(select(WebhookDelivery)))


def all_delivered() -> bool:
    return {d.status for d in deliveries()} == {"delivered"}


def test_errors_hangs_drops_and_a_killed_worker(
    database: str, faulty: Faulty, hook: Callable[..., str], workers: Workers, stored_jobs: Any
) -> None:
    """One job told to four receivers; then a worker is killed between the reading and the answer."""
    paths = ("/fine", "/error", "/hang", "/drop")
    ids = {path: hook(path, "job.succeeded") for path in paths}
    job_id = stored_jobs.submit()
    send_due()
    first = workers.start()
    stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 90)
    assert stored_jobs.row(job_id).status == "succeeded"
    assert wait_until(lambda: len(deliveries()) == len(paths) and all_delivered()), workers.log()
    for path in paths:
        tries = faulty.of(path)
        assert len(tries) == (1 if path == "/fine" else FAULTS + 1), path
        assert len(set(tries)) == 1, path  # one id, one body
        body = json.loads(tries[0][1])
        assert (body["type"], body["data"]["id"]) == ("job.succeeded", job_id)
        secret = service.view_with_secret(ids[path], "local").secret
        for where, headers, content in faulty.got:
            if where == path:
                Official(secret).verify(content, headers)
    codes = {d.webhook_id: d.attempts for d in deliveries()}
    assert codes == {ids[path]: 1 if path == "/fine" else FAULTS + 1 for path in paths}

    # The receiver has read it and not answered, and the worker is gone.
    hook("/hold", "job.cancelled")
    faulty.held = True
    other = stored_jobs.submit(stored_jobs.row(job_id).teacher_id, device="cuda")
    with session_scope() as session:
        lifecycle.request_cancel(session, other, "local")
    assert wait_until(lambda: len(faulty.of("/hold")) == 1), workers.log()
    workers.kill(first)
    faulty.held = False
    assert [d.status for d in deliveries() if d.event == "job.cancelled"] == ["pending"]
    workers.start()
    assert wait_until(all_delivered), workers.log()
    tries = faulty.of("/hold")
    assert len(tries) == 2
    assert len(set(tries)) == 1
    (line,) = (d for d in deliveries() if d.event == "job.cancelled")
    assert (line.id, line.attempts, line.job_id) == (tries[0][0], 2, other)
