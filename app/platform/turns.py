"""Long work of requests: little of it at once, and of each tenant one piece at a time.

Whoever waits for a turn holds no thread, so that however many ask, short requests find one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack
from weakref import WeakValueDictionary

import anyio
from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar

from app.platform.errors import ServiceError

AT_ONCE = 2
WAIT_SECONDS = 10.0
RETRY_SECONDS = 2

_Out = TypeVar("_Out")
_In = TypeVarTuple("_In")


class _Turns:
    """Of one event loop."""

    def __init__(self) -> None:
        self.room = anyio.Semaphore(AT_ONCE)
        self.threads = CapacityLimiter(AT_ONCE)
        self._tenants: WeakValueDictionary[str, anyio.Lock] = WeakValueDictionary()

    def of(self, tenant_id: str) -> anyio.Lock:
        lock = self._tenants.get(tenant_id)
        if lock is None:
            lock = self._tenants[tenant_id] = anyio.Lock()
        return lock


_turns: RunVar[_Turns] = RunVar("_turns")


async def run_in_turn(tenant_id: str, function: Callable[[Unpack[_In]], _Out], *args: *_In) -> _Out:
    """What `function` returns; it runs in a thread. Raises ServiceError 409 if no turn comes in time."""
    try:
        turns = _turns.get()
    except LookupError:  # of this event loop none have been made yet
        turns = _Turns()
        _turns.set(turns)
    turn = turns.of(tenant_id)
    with anyio.move_on_after(WAIT_SECONDS) as waiting:
        await turn.acquire()
        try:
            await turns.room.acquire()
        except BaseException:
            turn.release()
            raise
    if waiting.cancelled_caught:
        raise busy("Other requests of this kind are under way, and take long.")
    try:
        return await to_thread.run_sync(function, *args, limiter=turns.threads)
    finally:
        turns.room.release()
        turn.release()


def busy(detail: str) -> ServiceError:
    """The answer to a request that has to come again when another is over."""
    return ServiceError(409, "conflict", detail, headers={"Retry-After": str(RETRY_SECONDS)})
