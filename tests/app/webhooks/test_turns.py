"""Whose message is sent next where more wait than can be sent: fair between tenants and between receivers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from app.platform.db import session_scope
from app.webhooks.delivery import AT_ONCE_A_TENANT, Owed, claim_due, record
from app.webhooks.sending import Outcome
from tests.app.webhooks.test_delivery import owe_tests, row

SENDERS = 8
HUNG = Outcome(error="timeout")
Hook = Callable[..., str]


def hang(owed: Owed) -> None:
    """What becomes of a try that gets no answer."""
    with session_scope() as session:
        assert record(session, owed, HUNG)


def tenants(claimed: list[Owed]) -> list[str]:
    return [row(owed.webhook_id).tenant_id for owed in claimed]


@pytest.fixture(autouse=True)
def _database(each_database: str) -> None:
    """On SQLite and on PostgreSQL."""


def test_tenants_whose_receivers_hang_do_not_hold_up_another(hook: Hook) -> None:
    for tenant in ("one", "two"):
        for _ in range(6):
            owe_tests(hook(tenant), 5)
    under_way = claim_due(SENDERS)
    assert len(under_way) == SENDERS
    for _ in range(3):
        webhook_id = hook("third")
        owe_tests(webhook_id, 1)
        assert claim_due(0) == []
        hang(under_way.pop(0))
        (next_one,) = claim_due(1)
        assert next_one.webhook_id == webhook_id
        hang(next_one)
        under_way += claim_due(1)


def test_ten_tenants_whose_receivers_hang_wait_for_each_other_and_for_nobody_twice(hook: Hook) -> None:
    hanging = [f"t{number}" for number in range(10)]
    for tenant in hanging:
        owe_tests(hook(tenant), 5)
    owe_tests(hook("healthy"), 5)
    served: list[str] = []
    for _ in range(33):
        (owed,) = claim_due(1)
        served += tenants([owed])
        hang(owed)
    for start in range(0, 33, 11):
        assert sorted(served[start : start + 11]) == sorted([*hanging, "healthy"])


def test_a_receiver_that_hangs_does_not_hold_up_another_of_its_tenant(hook: Hook) -> None:
    for _ in range(AT_ONCE_A_TENANT):
        owe_tests(hook("one"), 5)
    under_way = claim_due(SENDERS)
    webhook_id = hook("one")
    owe_tests(webhook_id, 1)
    hang(under_way[0])
    assert [owed.webhook_id for owed in claim_due(SENDERS)] == [webhook_id]
