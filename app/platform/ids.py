"""Prefixed, unguessable, time-ordered identifiers."""

from __future__ import annotations

import re
import secrets
import time
from datetime import UTC, datetime, timedelta

from app.platform.errors import FieldProblem, InvalidBody

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PATTERN = re.compile(r"[a-z]{2,4}_[0-9a-f]{32}")


def new_id(prefix: str, at: datetime | None = None) -> str:
    """`prefix_` + 32 hex digits: 48 bits of milliseconds, of `at` or of this machine's clock, 80 random bits.

    Ids sort by time of creation, which keeps newest-first lists and indexes cheap.
    """
    milliseconds = time.time_ns() // 1_000_000 if at is None else _milliseconds(at)
    return f"{prefix}_{milliseconds:012x}{secrets.token_hex(10)}"


def first_id(prefix: str, since: datetime) -> str:
    """All ids that were made earlier than `since` are smaller."""
    return f"{prefix}_{_milliseconds(since):012x}"


def _milliseconds(at: datetime) -> int:
    """Since 1970, and 0 before."""
    return max(0, (at - _EPOCH) // timedelta(milliseconds=1))


def is_id(value: str, prefix: str) -> bool:
    """Whether `value` has the form of an id with this prefix."""
    return value.startswith(f"{prefix}_") and _PATTERN.fullmatch(value) is not None


def require_id(value: str, prefix: str, pointer: str) -> None:
    """Raise InvalidBody for a value that cannot be the id of anything."""
    if not is_id(value, prefix):
        problem = FieldProblem(pointer, f"not of the form {prefix}_ and 32 hexadecimal digits")
        raise InvalidBody("That is not an id.", problem, code="invalid_id")
