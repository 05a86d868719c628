"""Where the short reads of requests are done: one at a time, in the order in which they came.

Each is a millisecond or two of Python between two answers of the database. Forty threads of that take the
interpreter from each other at every turn, and the last of a crowd waits for all of them many times over;
in a line the same crowd is served sooner, and nobody waits long. More reads at once are had with more server
processes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

AT_ONCE = 1
_line: RunVar[CapacityLimiter] = RunVar("_line")

_Out = TypeVar("_Out")
_In = TypeVarTuple("_In")


async def run_read(function: Callable[[Unpack[_In]], _Out], *args: *_In) -> _Out:
    """What `function` returns; it runs in a thread and must not wait for anything but one read."""
    try:
        line = _line.get()
    except LookupError:  # of this event loop none has been made yet
        line = CapacityLimiter(AT_ONCE)
        _line.set(line)
    return await to_thread.run_sync(function, *args, limiter=line)
