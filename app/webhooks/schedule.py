"""When a message that did not arrive is tried again. Pure."""

from __future__ import annotations

import email.utils
import random
from collections.abc import Sequence
from datetime import UTC, datetime

LONGEST_ASKED_SECONDS = 24 * 3600.0
"""A receiver that asks for a longer pause is tried sooner."""
JITTER = 0.2
"""A receiver that comes back must not meet all that it missed in one second."""


def next_delay(schedule: Sequence[float], retries: int, asked: float | None = None) -> float | None:
    """Seconds until the retry after `retries` of them; None when there is none left.

    `asked` is the receiver's Retry-After: never sooner than that, within a day.
    """
    if retries >= len(schedule):
        return None
    delay = schedule[retries] * random.uniform(1.0, 1.0 + JITTER)
    return max(delay, min(asked or 0.0, LONGEST_ASKED_SECONDS))


def seconds_asked(header: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header, a number or a date; None for anything else."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - now).total_seconds())
