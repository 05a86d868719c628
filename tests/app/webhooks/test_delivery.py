"""From a job's change to a delivery's end, on both databases.

Guards: that what is owed is written with the change or not at all, and outlives the job; that one id goes
over all tries; that of several senders one sends; that a receiver that hangs or is dead costs its owner and
nobody else; when a webhook is disabled, and when not; how secrets are kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import delete, select, update
from standardwebhooks import Webhook as Official

from app.jobs import lifecycle
from app.jobs.removal import drop_job
from app.models import Webhook, WebhookDelivery
from app.platform.db import database_now, read_scope, session_scope
from app.platform.errors import ServiceError
from app.platform.ids import new_id
from app.platform.settings import get_settings
from app.webhooks import service
from app.webhooks.delivery import AT_ONCE_A_TENANT, LEASE_FACTOR, claim_due, deliver, record
from app.webhooks.schemas import WebhookPatch
from app.webhooks.secrets import SecretUnreadable, new_secret, seal, unseal
from app.webhooks.sending import Outcome
from dfad_core.contract.job_result import JobError
from tests.app.webhooks.conftest import Receiver

Hook = Callable[..., str]
ARRIVED, BROKEN = Outcome(204), Outcome(500, "http_error")


def log(webhook_id: str) -> list[WebhookDelivery]:
    """Oldest first."""
    with read_scope() as session:
        mine = select(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
        return list(session.scalars(mine.order_by(WebhookDelivery.id)))


def row(webhook_id: str) -> Webhook:
    with read_scope() as session:
        return session.get_one(Webhook, webhook_id)


def pass_time(seconds: float = 0, **which: Any) -> None:
    """What is to be tried within `seconds`, and every lease, is due now."""
    with session_scope() as session:
        now = database_now(session)
        soon = WebhookDelivery.next_attempt_at <= now + timedelta(seconds=seconds)
        session.execute(update(WebhookDelivery).where(soon).values(next_attempt_at=now))
        session.execute(update(WebhookDelivery).values(leased_until=None))


def owe_tests(webhook_id: str, number: int) -> None:
    for _ in range(number):
        service.send_test(webhook_id, row(webhook_id).tenant_id, None)


@pytest.fixture
def job(each_database: str, stored_jobs: Any) -> Callable[[], str]:
    """Runs a job to its end, without a worker; its id."""

    def run() -> str:
        job_id: str = stored_jobs.submit()
        with session_scope() as session:
            claim = lifecycle.claim(session, job_id, "w")
            assert claim is not None
            assert lifecycle.fail(session, claim, JobError("corrupt_file", "/secret/path"))
        return job_id

    return run


def test_every_change_of_state_is_owed_to_who_asks(job: Any, hook: Hook) -> None:
    everything, ends = hook(), hook(events=["job.failed"])
    other, off = hook("another"), hook()
    service.patch(off, "local", WebhookPatch(enabled=False))
    job_id = job()
    assert {d.event for d in log(everything)} == {"job.queued", "job.running", "job.failed"}
    assert len(log(everything)) == 3
    assert (log(other), log(off)) == ([], [])
    (owed,) = log(ends)
    body = json.loads(owed.body)
    assert (owed.status, owed.attempts, owed.job_id, body["type"]) == ("pending", 0, job_id, "job.failed")
    assert body["timestamp"].endswith("Z")
    assert body["data"] == {
        "id": job_id, "object": "job", "status": "failed", "attempt": 1, "seq": 3,
        "error": {"code": "corrupt_file"}, "url": f"/jobs/{job_id}",
    }  # fmt: skip


def test_a_change_that_does_not_happen_owes_nothing(job: Any, hook: Hook, stored_jobs: Any) -> None:
    webhook_id = hook(events=["job.running"])
    job_id = stored_jobs.submit()
    with session_scope() as session:
        assert lifecycle.claim(session, job_id, "w") is not None
        session.rollback()
    assert log(webhook_id) == []


def test_a_deleted_jobs_end_is_still_told(job: Any, hook: Hook) -> None:
    webhook_id = hook(events=["job.failed"])
    job_id = job()
    with session_scope() as session:
        drop_job(session, job_id)
    (owed,) = claim_due(9)
    assert json.loads(owed.body)["data"]["id"] == job_id
    assert deliver(owed, lambda *_, **__: ARRIVED).arrived
    assert [d.status for d in log(webhook_id)] == ["delivered"]


def test_tried_again_under_one_id_until_it_arrives(
    job: Any, hook: Hook, receiver: Receiver, loopback: None
) -> None:
    webhook_id = hook(url=receiver.url, events=["job.failed"])
    secret = service.view_with_secret(webhook_id, "local").secret
    job()
    answers = [500, 302, 429, 200]
    receiver.answer = lambda handler: receiver.say(handler, answers.pop(0), Retry_After="1000")
    for number, (status, error) in enumerate([(500, "http_error"), (302, "redirect"), (429, "http_error")]):
        (owed,) = claim_due(9)
        deliver(owed)
        (line,) = log(webhook_id)
        assert (line.status, line.attempts, line.retries) == ("pending", number + 1, number + 1)
        assert (line.response_status, line.error_code) == (status, error)
        assert claim_due(9) == []
        wait = (line.next_attempt_at - line.last_attempt_at).total_seconds()
        at_least = 1000 if status == 429 else get_settings().webhook_retry_seconds[number]
        assert wait >= at_least
        pass_time(3000)
    (owed,) = claim_due(9)
    deliver(owed)
    (line,) = log(webhook_id)
    assert (line.status, line.attempts, line.response_status, line.error_code) == ("delivered", 4, 200, None)
    assert (line.next_attempt_at, line.leased_until) == (None, None)
    assert {headers["webhook-id"] for _, headers, _ in receiver.got} == {line.id}
    assert len({body for _, _, body in receiver.got}) == 1
    assert Official(secret).verify(receiver.got[-1][2], receiver.got[-1][1])["type"] == "job.failed"


def test_the_last_try_disables_a_webhook_that_nothing_reached(job: Any, hook: Hook, monkeypatch: Any) -> None:
    monkeypatch.setenv("DFAD_WEBHOOK_RETRY_SECONDS", "[1, 1]")
    get_settings.cache_clear()
    webhook_id = hook(events=["job.failed"])
    job()
    for _ in range(3):
        assert row(webhook_id).enabled
        (owed,) = claim_due(9)
        deliver(owed, lambda *_, **__: BROKEN)
        pass_time(9)
    (line,) = log(webhook_id)
    assert (line.status, line.attempts, line.next_attempt_at) == ("failed", 3, None)
    assert line.finished_at is not None
    assert (row(webhook_id).enabled, row(webhook_id).disabled_reason) == (False, "failing")
    job()
    assert len(log(webhook_id)) == 1
    service.patch(webhook_id, "local", WebhookPatch(enabled=True))
    assert (row(webhook_id).enabled, row(webhook_id).disabled_reason) == (True, None)
    service.redeliver(line.id, webhook_id, "local")
    (again,) = claim_due(9)
    assert (again.id, again.attempt, again.retries) == (line.id, 4, 0)


def test_one_bad_message_among_good_ones_disables_nothing(job: Any, hook: Hook, monkeypatch: Any) -> None:
    monkeypatch.setenv("DFAD_WEBHOOK_RETRY_SECONDS", "[]")
    get_settings.cache_clear()
    webhook_id = hook(events=["job.running", "job.failed"])
    job()
    (first,) = claim_due(9)
    (deliver(first, lambda *_, **__: ARRIVED))
    (second,) = claim_due(9)
    deliver(second, lambda *_, **__: BROKEN)
    assert {d.id: d.status for d in log(webhook_id)} == {first.id: "delivered", second.id: "failed"}
    assert row(webhook_id).enabled


def test_gone_disables_at_once_unless_the_url_was_changed(job: Any, hook: Hook) -> None:
    gone, moved = hook(events=["job.failed"]), hook(events=["job.failed"])
    job()
    for owed in claim_due(9):
        if owed.webhook_id == moved:
            service.patch(moved, "local", WebhookPatch(url="https://new.example.com/"))
        deliver(owed, lambda *_, **__: Outcome(410, "gone"))
    assert (row(gone).enabled, row(gone).disabled_reason, row(moved).enabled) == (False, "gone", True)
    assert [d.status for d in log(gone)] == ["failed"]


def test_a_test_is_tried_once_and_disables_nothing(each_database: str, hook: Hook) -> None:
    webhook_id = hook()
    service.patch(webhook_id, "local", WebhookPatch(enabled=False))
    owe_tests(webhook_id, 1)
    (owed,) = claim_due(9)
    assert json.loads(owed.body)["type"] == "webhook.test"
    deliver(owed, lambda *_, **__: BROKEN)
    assert [(d.status, d.attempts) for d in log(webhook_id)] == [("failed", 1)]
    assert row(webhook_id).disabled_reason is None


def test_what_waits_for_a_disabled_webhook_goes_when_it_is_enabled(job: Any, hook: Hook) -> None:
    webhook_id = hook(events=["job.failed"])
    job()
    service.patch(webhook_id, "local", WebhookPatch(enabled=False))
    assert claim_due(9) == []
    service.patch(webhook_id, "local", WebhookPatch(enabled=True))
    assert len(claim_due(9)) == 1


def test_of_many_senders_one_sends(each_database: str, hook: Hook) -> None:
    for _ in range(4):
        owe_tests(hook(new_id("t")), 2)
    with ThreadPoolExecutor(4) as senders:
        claimed = [owed for found in senders.map(claim_due, [9] * 8) for owed in found]
    assert len({owed.id for owed in claimed}) == len(claimed)
    assert len({owed.webhook_id for owed in claimed}) == 4


def test_a_sender_that_died_holds_it_up_for_a_lease_and_writes_nothing_afterwards(
    each_database: str, hook: Hook
) -> None:
    webhook_id = hook()
    owe_tests(webhook_id, 1)
    (dead,) = claim_due(9)
    assert claim_due(9) == []
    (line,) = log(webhook_id)
    seconds = (line.leased_until - line.last_attempt_at).total_seconds()
    assert seconds == LEASE_FACTOR * get_settings().webhook_timeout_seconds
    pass_time()
    (other,) = claim_due(9)
    assert (other.id, other.attempt) == (dead.id, 2)
    with session_scope() as session:
        assert not record(session, dead, BROKEN)
        assert record(session, other, ARRIVED)
        assert not record(session, other, BROKEN)
    assert [(d.status, d.attempts) for d in log(webhook_id)] == [("delivered", 2)]


def test_one_tenants_dead_receivers_leave_room_for_others(each_database: str, hook: Hook) -> None:
    """Its hundred messages are older than the other's one; of each webhook and tenant a few are under way."""
    for _ in range(AT_ONCE_A_TENANT + 3):
        owe_tests(hook("crowd"), 4)
    owe_tests(hook("single"), 1)
    first = claim_due(50)
    assert len(first) == AT_ONCE_A_TENANT + 1
    assert len({owed.webhook_id for owed in first}) == len(first)
    assert claim_due(50) == []
    with session_scope() as session:
        for owed in first:
            record(session, owed, ARRIVED)
    assert len(claim_due(2)) == 2


def test_secrets_rotate_with_an_overlap(each_database: str, hook: Hook) -> None:
    webhook_id = hook()
    seen = [service.view_with_secret(webhook_id, "local").secret]
    for _ in range(2):
        service.rotate(webhook_id, "local", 24)
        seen.append(service.view_with_secret(webhook_id, "local").secret)
    got: dict[str, Any] = {}

    def send(url: str, body: bytes, headers: dict[str, str], **_: Any) -> Outcome:
        got.update(body=body, headers=headers)
        return ARRIVED

    def known() -> list[bool]:
        owe_tests(webhook_id, 1)
        (owed,) = claim_due(9)
        deliver(owed, send)
        names = got["headers"]["webhook-signature"].split()
        ours = [Official(s).sign(owed.id, owed.claimed_at.replace(microsecond=0), owed.body) for s in seen]
        return [one in names for one in ours]

    assert known() == [True, True, True]
    with session_scope() as session:  # the first one's time is over
        webhook = session.get_one(Webhook, webhook_id)
        past = (database_now(session) - timedelta(seconds=1)).isoformat()
        webhook.old_secrets = [webhook.old_secrets[0], webhook.old_secrets[1] | {"until": past}]
    assert known() == [False, True, True]
    service.rotate(webhook_id, "local", 0)
    seen.append(service.view_with_secret(webhook_id, "local").secret)
    assert known() == [False, False, False, True]


def test_secrets_are_sealed_where_there_is_a_key(each_database: str, hook: Hook, monkeypatch: Any) -> None:
    plain = hook()
    assert unseal(row(plain).secret) in row(plain).secret
    monkeypatch.setenv("DFAD_WEBHOOK_KEY", "a key of the operator")
    get_settings.cache_clear()
    sealed = hook()
    secret = service.view_with_secret(sealed, "local").secret
    assert secret.removeprefix("whsec_") not in row(sealed).secret
    assert service.view_with_secret(plain, "local").secret in row(plain).secret
    for key in ("another key of theirs", ""):
        monkeypatch.setenv("DFAD_WEBHOOK_KEY", key)
        get_settings.cache_clear()
        with pytest.raises(SecretUnreadable):
            unseal(row(sealed).secret)
        owe_tests(sealed, 1)
        (owed,) = claim_due(9)
        assert deliver(owed).error == "secret_unreadable"
    assert len({seal(new_secret()) for _ in range(9)}) == 9


def test_what_the_operator_sees(job: Any, hook: Hook) -> None:
    from app.telemetry.webhooks import WebhookCollector

    def told() -> dict[tuple[str, ...], float]:
        samples = [sample for metric in WebhookCollector().collect() for sample in metric.samples]
        return {(sample.name, *sample.labels.values()): sample.value for sample in samples}

    assert set(told().values()) == {0}
    off, webhook_id = hook(events=["job.failed"]), hook(events=["job.failed"])
    job()
    with session_scope() as session:
        gone = update(Webhook).where(Webhook.id == off)
        session.execute(gone.values(enabled=False, disabled_reason="gone"))
        past = database_now(session) - timedelta(seconds=100)
        mine = update(WebhookDelivery).where(WebhookDelivery.webhook_id == webhook_id)
        session.execute(mine.values(next_attempt_at=past))
    found = told()
    assert (found["dfad_webhook_pending",], found["dfad_webhooks_disabled", "gone"]) == (1, 1)
    assert 99 < found["dfad_webhook_late_seconds",] < 200


def test_the_log_is_cut(job: Any, hook: Hook, monkeypatch: Any) -> None:
    from worker import sweeper
    from worker.sweeper import sweep_deliveries

    webhook_id = hook()
    job()
    (owed,) = claim_due(1)
    deliver(owed, lambda *_, **__: ARRIVED)
    assert sweep_deliveries() == 0
    with session_scope() as session:
        old = database_now(session) - timedelta(days=31)
        session.execute(update(WebhookDelivery).where(WebhookDelivery.id == owed.id).values(finished_at=old))
    assert sweep_deliveries() == 1
    assert len(log(webhook_id)) == 2
    with session_scope() as session:
        session.execute(delete(Webhook))
    assert claim_due(9) == []
    with session_scope() as session:
        session.execute(update(WebhookDelivery).values(next_attempt_at=old))
    monkeypatch.setattr(sweeper, "LINES_AT_ONCE", 1)
    assert sweep_deliveries() == 2


def test_threads_that_hang_leave_the_others_alone(
    database: str, hook: Hook, loopback: None, receiver: Receiver, monkeypatch: Any
) -> None:
    """The worker's thread, with two places: one receiver hangs, the other gets all of its messages."""
    from worker import webhook_sender

    monkeypatch.setenv("DFAD_WEBHOOK_SENDERS", "2")
    monkeypatch.setattr(webhook_sender, "POLL_SECONDS", 0.02)
    get_settings.cache_clear()
    over = []

    def answer(handler: Any) -> None:
        while handler.path == "/hang" and not over:
            time.sleep(0.02)
        receiver.say(handler, 204)

    receiver.answer = answer
    hanging = hook("one", url=receiver.url.replace("/in", "/hang"))
    owe_tests(hanging, 3)
    quick = hook("two", url=receiver.url)
    owe_tests(quick, 5)
    thread = webhook_sender.WebhookSender()
    thread.start()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and {d.status for d in log(quick)} != {"delivered"}:
        time.sleep(0.02)
    assert {d.status for d in log(quick)} == {"delivered"}
    assert {d.status for d in log(hanging)} == {"pending"}
    assert sum(d.attempts for d in log(hanging)) == 1
    over.append(True)
    while time.monotonic() < deadline and {d.status for d in log(hanging)} != {"delivered"}:
        time.sleep(0.02)
    thread.close()
    thread.join(20)
    assert {d.status for d in log(hanging)} == {"delivered"}


def test_a_round_that_fails_does_not_end_the_rounds(database: str, hook: Hook, monkeypatch: Any) -> None:
    from worker import webhook_sender

    monkeypatch.setattr(webhook_sender, "POLL_SECONDS", 0.01)
    rounds = []

    def flaky(limit: int) -> list[Any]:
        rounds.append(limit)
        if len(rounds) < 3:
            raise RuntimeError("a fault")
        thread.close()
        return []

    monkeypatch.setattr(webhook_sender, "claim_due", flaky)
    thread = webhook_sender.WebhookSender()
    thread.start()
    thread.join(20)
    assert rounds == [8, 8, 8]


def together(what: Callable[[], Any], times: int) -> int:
    """How many of so many at once were not refused."""
    start = Barrier(times)

    def one(_: int) -> bool:
        start.wait(timeout=30)
        try:
            what()
        except ServiceError:
            return False
        return True

    with ThreadPoolExecutor(times) as pool:
        return sum(pool.map(one, range(times)))


def test_many_who_press_the_button_at_once_owe_no_more(each_database: str, hook: Hook) -> None:
    webhook_id = hook()
    assert together(lambda: service.send_test(webhook_id, "local", None), 12) == service.MOST_TESTS
    assert len(log(webhook_id)) == service.MOST_TESTS


def test_many_who_make_webhooks_at_once_make_no_more(each_database: str, hook: Hook) -> None:
    for _ in range(service.MOST_WEBHOOKS - 2):
        hook()
    assert together(hook, 12) == 2


def test_a_machine_without_threads_takes_no_places_away(
    database: str, hook: Hook, loopback: None, receiver: Receiver, monkeypatch: Any
) -> None:
    """Guard tried: places were taken for all that was claimed, and those that never began kept them."""
    from worker import webhook_sender

    class NoThread:
        def __init__(self, **_: Any) -> None:
            pass

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    webhook_id = hook(url=receiver.url)
    owe_tests(webhook_id, 1)
    monkeypatch.setenv("DFAD_WEBHOOK_SENDERS", "1")
    get_settings.cache_clear()
    sender = webhook_sender.WebhookSender()
    with monkeypatch.context() as none_left:
        none_left.setattr(webhook_sender.threading, "Thread", NoThread)
        assert sender._round() == 1
    pass_time()
    assert sender._round() == 1
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and log(webhook_id)[0].status == "pending":
        time.sleep(0.02)
    assert [(d.status, d.attempts) for d in log(webhook_id)] == [("delivered", 2)]
