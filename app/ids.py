"""Prefixed, unguessable, time-ordered identifiers."""

from __future__ import annotations

import re
import secrets
import time

_PATTERN = re.compile(r"[a-z]{2,4}_[0-9a-f]{32}")


def new_id(prefix: str) -> str:
    """`prefix_` + 32 hex digits: 48 bits of milliseconds, then 80 random bits.

    Ids sort by time of creation, which keeps newest-first lists and indexes cheap.
    """
    return f"{prefix}_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def is_id(value: str, prefix: str) -> bool:
    """Whether `value` has the form of an id with this prefix."""
    return value.startswith(f"{prefix}_") and _PATTERN.fullmatch(value) is not None
