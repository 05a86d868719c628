"""The two things that a thread does in another way than asyncio."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def sleep(seconds: float) -> None:
    """Wait."""
    time.sleep(seconds)


def aside(work: Callable[[], T]) -> T:
    """What `work` returns; whoever calls waits for it anyway."""
    return work()
