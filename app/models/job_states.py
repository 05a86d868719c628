"""The states of a job and the moves between them. Pure: no database, no clock."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Status(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


#: Nothing leaves these.
TERMINAL = frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELLED})

#: An attempt holds a lease in these.
LEASED = frozenset({Status.RUNNING, Status.PAUSING, Status.CANCELLING})

#: What a quota counts as queued.
WAITING = frozenset({Status.QUEUED, Status.PAUSED})

#: What a queued job may wait for, other than its turn.
STORAGE_FULL = "storage_full"

#: Every move that exists. What is not here cannot happen.
MOVES: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.PAUSED, Status.CANCELLED}),
    Status.RUNNING: frozenset(
        {
            Status.SUCCEEDED,
            Status.FAILED,
            Status.QUEUED,  # expired lease, transient error, or a worker that was told to stop
            Status.CANCELLING,
            Status.PAUSING,
        }
    ),
    Status.CANCELLING: frozenset({Status.CANCELLED}),
    Status.PAUSING: frozenset(
        {
            Status.PAUSED,
            Status.CANCELLING,
            Status.FAILED,
            Status.SUCCEEDED,  # its training had ended before it heard of the pause
        }
    ),
    Status.PAUSED: frozenset({Status.QUEUED, Status.CANCELLED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}


def sources(target: Status) -> tuple[Status, ...]:
    """The states from which `target` can be reached in one move."""
    return tuple(source for source, targets in MOVES.items() if target in targets)
