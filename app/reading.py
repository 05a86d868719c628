"""Where the short reads of requests, and the parsing of their bodies, are done: one at a time, by turns.

Each is a millisecond or two of Python between two answers of the database. Forty threads of that take the
interpreter from each other at every turn, and the last of a crowd waits for all of them many times over;
in a line the same crowd is served sooner, and nobody waits long. However many reads one tenant asks for at
once, another's waits for one of them. More reads at once are had with more server processes. Bodies have a
line of their own, so that a read waits for no large one.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from app.tenancy import current_tenant

_Out = TypeVar("_Out")
_In = TypeVarTuple("_In")


class _Line:
    """Of one event loop."""

    def __init__(self) -> None:
        self.thread = CapacityLimiter(1)
        self._busy = False
        #: Those who wait, by tenant; the tenant whose turn is next is the first.
        self._waiting: OrderedDict[str | None, deque[anyio.Event]] = OrderedDict()

    async def enter(self, tenant_id: str | None) -> None:
        """Wait for one's turn; `leave` has to follow."""
        if not self._busy:
            self._busy = True
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
            self._busy = False
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


async def run_read(function: Callable[[Unpack[_In]], _Out], *args: *_In) -> _Out:
    """What `function` returns; it runs in a thread and must not wait for anything but one read."""
    return await _run(_reads, current_tenant(), function, *args)


async def run_parse(function: Callable[[Unpack[_In]], _Out], *args: *_In) -> _Out:
    """What `function` makes of a request's body; it runs in a thread and must not wait for anything."""
    return await _run(_bodies, current_tenant(), function, *args)


async def run_look_up(source: str, function: Callable[[Unpack[_In]], _Out], *args: *_In) -> _Out:
    """What `function` finds about a key that came from `source`, from where many wrong ones came."""
    return await _run(_keys, source, function, *args)


async def _run(
    which: RunVar[_Line], whose: str | None, function: Callable[[Unpack[_In]], _Out], *args: *_In
) -> _Out:
    try:
        line = which.get()
    except LookupError:  # of this event loop none has been made yet
        line = _Line()
        which.set(line)
    await line.enter(whose)
    try:
        return await to_thread.run_sync(function, *args, limiter=line.thread)
    finally:
        line.leave()
