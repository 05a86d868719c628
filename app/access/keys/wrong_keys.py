"""Wrong keys, counted by the address that they come from: nobody tries keys as fast as a server answers.

A right key opens the service from any address, however many wrong ones came from there: others may share it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections import OrderedDict

import anyio
from starlette.concurrency import run_in_threadpool

from app.access.keys.principal import Principal
from app.access.keys.service import look_up, may_open, note_use, recent
from app.http.reading import run_look_up
from app.platform.client_address import source_of
from app.platform.errors import ServiceError
from app.platform.settings import Settings

logger = logging.getLogger(__name__)

BURST = 20
"""Wrong keys that an address has free."""
SECONDS_EACH = 3.0
"""After which it has another one."""
ADDRESSES = 10_000
"""That are remembered, by each server process; those whose last wrong key is longest ago are forgotten."""
PAUSE_SECONDS = 1.0
"""Before the refusal of one too many: it costs the server less than to refuse as fast as it can."""


class WrongKeys:
    """How many came from where."""

    def __init__(self) -> None:
        #: When each address will have its whole burst again.
        self._free_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._free_at)

    def wait_seconds(self, source: str) -> float:
        """Until the address may try another key; 0 where it may now."""
        behind = self._free_at.get(source, 0.0) - time.monotonic()
        return max(0.0, behind - (BURST - 1) * SECONDS_EACH)

    def add(self, source: str) -> bool:
        """Count one; whether it was the last that the address had free."""
        now, waited = time.monotonic(), self.wait_seconds(source)
        free_at = max(now, self._free_at.pop(source, 0.0)) + SECONDS_EACH
        self._free_at[source] = min(free_at, now + BURST * SECONDS_EACH)  # those under way were all let in
        while len(self._free_at) > ADDRESSES:
            self._free_at.popitem(last=False)
        return not waited and self.wait_seconds(source) > 0

    def clear(self) -> None:
        """Forget all."""
        self._free_at.clear()


wrong_keys = WrongKeys()
"""Of this process."""
audited_failures = WrongKeys()
"""Those of sign-ins that are in the audit: an address has no more lines there than wrong keys free."""


async def principal_from(address: str | None, authorization: str, settings: Settings) -> Principal:
    """Who comes from the address with this Authorization header.

    Raises ServiceError 401 for a key that is missing or wrong, and 429 for a wrong one too many.
    """
    known = recent.find(authorization)
    if known is not None:
        return known
    source = source_of(address)
    wait = wrong_keys.wait_seconds(source) if authorization else 0.0
    if not wait:
        try:
            return await _looked_up(source, authorization, settings)
        except ServiceError:
            if authorization and wrong_keys.add(source):
                logger.warning("many wrong keys came from %s", source)
            raise
    if may_open(authorization, settings):
        with contextlib.suppress(ServiceError):
            return await _looked_up(source, authorization, settings)
    await anyio.sleep(PAUSE_SECONDS)
    text = "Too many wrong keys came from that address; the right one opens at any time."
    headers = {"Retry-After": str(math.ceil(wait))}
    raise ServiceError(429, "too_many_wrong_keys", text, headers=headers)


_looking: dict[tuple[asyncio.AbstractEventLoop, str, str], asyncio.Task[Principal]] = {}


async def _looked_up(source: str, authorization: str, settings: Settings) -> Principal:
    """Whose key it is, looked up once for all who come with it at the same moment."""
    which = (asyncio.get_running_loop(), source, authorization)
    task = _looking.get(which)
    if task is None:
        task = asyncio.create_task(_look_up(source, authorization, settings))
        _looking[which] = task
        task.add_done_callback(lambda done: (_looking.pop(which), done.cancelled() or done.exception()))
    return await asyncio.shield(task)  # whoever goes away leaves it to the others


async def _look_up(source: str, authorization: str, settings: Settings) -> Principal:
    principal, unnoted = await run_look_up(source, look_up, authorization, settings)
    if unnoted:
        await run_in_threadpool(note_use, principal)
    return principal
