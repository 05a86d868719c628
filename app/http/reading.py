"""Where the short reads of requests, and the parsing of their bodies, are done: one at a time, by turns.

Each is a millisecond or two of Python between two answers of the database. Forty threads of that take the
interpreter from each other at every turn, and the last of a crowd waits for all of them many times over;
in a line the same crowd is served sooner, and nobody waits long. However many reads one tenant asks for at
once, another's waits for one of them. More reads at once are had with more server processes. Bodies have a
line of their own, so that a read waits for no large one.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from app.models.tenancy import current_tenant

PARSE_PAUSE = 3.0
"""The pause after a body, as a multiple of its own time: a thread that computes slows all others."""
MAX_PAUSE_SECONDS = 0.25
"""The longest pause between two bodies."""
LOOK_UPS_AT_ONCE = 4
"""Of keys: nobody is served before, and a database that is far away takes its time."""
_Out = TypeVar("_Out")
_In = TypeVarTuple("_In")


class _Line:
    """Of one event loop."""

    def __init__(self, at_once: int) -> None:
        self.threads = CapacityLimiter(at_once)
        self._free = at_once
        #: Those who wait, by tenant; the tenant whose turn is next is the first.
        self._waiting: OrderedDict[str | None, deque[anyio.Event]] = OrderedDict()

    async def enter(self, tenant_id: str | None) -> None:
        """Wait for one's turn; `leave` has to follow."""
        if self._free:
            self._free -= 1
            return
        turn = anyio.Event()
        self._waiting.setdefault(tenant_id, deque()).append(turn)
        try:
            await turn.wait()
        except BaseException:
            if turn.is_set():
                self.leave()
            else:
                self._give_up(tenant_id, turn)
            raise

    def leave(self) -> None:
        """The next one's turn: of the tenant that has waited the longest since its last."""
        if not self._waiting:
            self._free += 1
            return
        tenant_id, turns = self._waiting.popitem(last=False)
        turns.popleft().set()
        if turns:
            self._waiting[tenant_id] = turns

    def _give_up(self, tenant_id: str | None, turn: anyio.Event) -> None:
        turns = self._waiting[tenant_id]
        turns.remove(turn)
        if not turns:
            del self._waiting[tenant_id]


_reads: RunVar[_Line] = RunVar("_reads")
_bodies: RunVar[_Line] = RunVar("_bodies")
_keys: RunVar[_Line] = RunVar("_keys")
_arrivals: RunVar[_Line] = RunVar("_arrivals")
_starts: RunVar[_Line] = RunVar("_starts")


async def run_read(function: Callable[[Unpack[_In]], _Out], *args: *_In) -> _Out:
    """What `function` returns; it runs in a thread and must not wait for anything but one read."""
    return await _run(_reads, current_tenant(), function, *args)


async def run_parse(function: Callable[[Unpack[_In]], _Out], *args: *_In) -> _Out:
    """What `function` makes of a request's body; it runs in a thread and must not wait for anything.

    The next body's turn comes after a pause, so that short requests get on between large bodies.
    """
    line = _line_of(_bodies)
    await line.enter(current_tenant())
    begun = time.monotonic()
    try:
        return await to_thread.run_sync(function, *args, limiter=line.threads)
    finally:
        pause = min(MAX_PAUSE_SECONDS, PARSE_PAUSE * (time.monotonic() - begun))
        asyncio.get_running_loop().call_later(pause, line.leave)


async def run_look_up(source: str, function: Callable[[Unpack[_In]], _Out], *args: *_In) -> _Out:
    """What `function` finds about a key that came from `source`; a few at a time, the sources by turns."""
    return await _run(_keys, source, function, *args, at_once=LOOK_UPS_AT_ONCE)


async def arrive_in_turn(source: str) -> None:
    """Wait for the turn to look at a request: one in each round of the event loop, the sources by turns.

    Of hundreds that arrive at the same moment, each would else do all that it can before anybody's next step.
    """
    await _take_turn(_arrivals, source)


async def start_in_turn(tenant_id: str) -> None:
    """Wait for the turn to answer a request, in the same way, the tenants by turns."""
    await _take_turn(_starts, tenant_id)


async def _take_turn(which: RunVar[_Line], whose: str) -> None:
    line = _line_of(which)
    await line.enter(whose)
    asyncio.get_running_loop().call_soon(line.leave)


async def _run(
    which: RunVar[_Line],
    whose: str | None,
    function: Callable[[Unpack[_In]], _Out],
    *args: *_In,
    at_once: int = 1,
) -> _Out:
    line = _line_of(which, at_once)
    await line.enter(whose)
    try:
        return await to_thread.run_sync(function, *args, limiter=line.threads)
    finally:
        line.leave()


def _line_of(which: RunVar[_Line], at_once: int = 1) -> _Line:
    try:
        return which.get()
    except LookupError:  # of this event loop none has been made yet
        line = _Line(at_once)
        which.set(line)
        return line
