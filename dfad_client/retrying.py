"""Which failures are worth another try, and how long to pause before it."""

from __future__ import annotations

import email.utils
import random
from collections.abc import Callable
from datetime import UTC, datetime

import httpx2

from dfad_client.errors import ApiError, DfadClientError, problem_of

#: Answers that say "not now".
RETRIED_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
CONFLICT = 409
#: The first try of the same request is still in work; its answer can be had in a moment.
IN_FLIGHT_CODE = "idempotency_in_flight"
#: A server that asks for a longer pause than this gets no second try: the caller decides.
LONGEST_PAUSE_SECONDS = 60.0
LONGEST_BACKOFF_SECONDS = 20.0


OnWait = Callable[[str, float], None]
"""Told before a pause: what went wrong, and how many seconds it takes."""


class Retryable(Exception):
    """A failure that another try may mend: what to raise in the end, and the pause asked for."""

    def __init__(self, failure: DfadClientError, pause: float | None = None) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.pause = pause


def pause_asked(response: httpx2.Response) -> float | None:
    """Seconds of a Retry-After header (a number or a date), or None."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        when = email.utils.parsedate_to_datetime(value)
    except ValueError:
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def refusal(response: httpx2.Response) -> Exception:
    """The error of a refusing answer that has been read; Retryable if a later try may help."""
    problem, pause = problem_of(response), pause_asked(response)
    if is_for_now(problem, pause) and (pause or 0) <= LONGEST_PAUSE_SECONDS:
        return Retryable(problem, pause)
    return problem


def is_for_now(problem: ApiError, pause: float | None) -> bool:
    """Whether the server refused for now only.

    Most conflicts (409) are about what the job is, such as `invalid_transition`, and stay. Those that pass
    are the one with a code of its own, and any for which the server names a time to come back.
    """
    if problem.status == CONFLICT:
        return problem.code == IN_FLIGHT_CODE or pause is not None
    return problem.status in RETRIED_STATUSES


def backoff(failures: int, first_seconds: float) -> float:
    """The pause after so many failures in a row: doubling, with jitter so that crowds spread."""
    longest = min(first_seconds * 2.0**failures, LONGEST_BACKOFF_SECONDS)
    return longest * random.uniform(0.5, 1.0)
