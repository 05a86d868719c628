"""The two things that asyncio does in another way than a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def sleep(seconds: float) -> None:
    """Wait, and let others run meanwhile."""
    await asyncio.sleep(seconds)


async def aside(work: Callable[[], T]) -> T:
    """What `work` returns; it may take its time, for it runs in a thread."""
    return await asyncio.to_thread(work)
