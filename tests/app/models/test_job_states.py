"""The transition table, as the contract tells it."""

import pytest

from app.models.job_states import LEASED, MOVES, TERMINAL, Status, sources


def test_the_table_knows_every_status():
    assert set(MOVES) == set(Status)


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_nothing_leaves_a_terminal_status(status):
    assert MOVES[status] == frozenset()


@pytest.mark.parametrize("status", sorted(set(Status) - TERMINAL))
def test_every_other_status_leads_to_an_end(status):
    reached, todo = set(), [status]
    while todo:
        here = todo.pop()
        reached.add(here)
        todo += MOVES[here] - reached
    assert reached & TERMINAL


def test_sources_is_the_table_read_backwards():
    for target in Status:
        assert set(sources(target)) == {s for s in Status if target in MOVES[s]}


def test_the_contracts_main_line():
    assert Status.RUNNING in MOVES[Status.QUEUED]
    assert {Status.SUCCEEDED, Status.FAILED, Status.QUEUED} <= MOVES[Status.RUNNING]
    assert MOVES[Status.CANCELLING] == {Status.CANCELLED}
    assert set(sources(Status.SUCCEEDED)) == {Status.RUNNING, Status.PAUSING}
    assert Status.SUCCEEDED not in MOVES[Status.CANCELLING]


def test_only_leased_jobs_can_lose_a_lease():
    assert not LEASED & TERMINAL
    assert Status.QUEUED not in LEASED
