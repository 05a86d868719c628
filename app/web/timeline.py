"""A job's states and phases in order, and how long each took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.jobs.views import EventView


@dataclass(frozen=True)
class Stretch:
    """From one change to the next."""

    name: str
    begun: datetime
    seconds: float | None
    """None for the last state of a job that has ended."""
    phase: bool
    data: dict[str, Any]


def timeline(events: Sequence[EventView], finished_at: datetime | None) -> list[Stretch]:
    """The states and phases among `events`, oldest first."""
    found = []
    for event, after in zip(events, [*events[1:], None], strict=True):
        end = after.created_at if after else None if finished_at else datetime.now(UTC)
        seconds = None if end is None else max(0.0, (end - event.created_at).total_seconds())
        phase = event.type == "phase"
        name = str(event.data.get("phase")) if phase else event.type.removeprefix("job.")
        found.append(Stretch(name.replace("_", " "), event.created_at, seconds, phase, event.data))
    return found


def by_phase(stretches: Sequence[Stretch]) -> dict[str, float]:
    """Seconds in the queue, on hold and in each phase, over all attempts."""
    found: dict[str, float] = {}
    for stretch in stretches:
        if stretch.seconds and (stretch.phase or stretch.name in ("queued", "paused")):
            found[stretch.name] = found.get(stretch.name, 0.0) + stretch.seconds
    return found
