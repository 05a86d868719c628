"""Files on their way in: their bytes count against the tenant's quota while they arrive.

What a tenant keeps and what arrives for it stay within its quota of stored bytes together; the request whose
byte passes it ends there. A server process counts the requests that it answers itself, and looks again at
what is kept: at least once a second, and whenever one of its requests has ended.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import anyio
from anyio.lowlevel import RunVar
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from app.access.quotas import FULL_RETRY_SECONDS, RETRY_SECONDS, no_room, stored_bytes
from app.access.usage.quota_store import quota_of
from app.models import BlobRemoval
from app.platform.db import read_scope
from app.platform.ids import new_id

KEPT_SECONDS = 1.0
"""For which a figure of what the tenant keeps is good enough for the bytes that fit."""
KEPT_SHARE = 20
"""A figure that took long to count is used for so many times as long."""


class _Tenant:
    """Files that arrive for one tenant in one event loop."""

    def __init__(self, tenant_id: str, limit: int) -> None:
        self._tenant_id, self.limit = tenant_id, limit
        self.arriving: dict[str, int] = {}
        """Bytes of each file, by the id under which the store has them."""
        self.given_up: dict[str, int] = {}
        """Bytes of files that nobody owns and that a sweeper is to delete."""
        self._kept, self._counted_at, self._good_until = 0, 0.0, 0.0
        self._ended = self._ended_when_counted = 0
        self._counting = anyio.Lock()

    def end(self, blob_id: str, *, left: bool) -> None:
        """The file is kept, refused or broken off; with `left` its bytes are still there and nobody's."""
        number = self.arriving.pop(blob_id)
        if left:
            self.given_up[blob_id] = number
        self._ended += 1

    async def take(self, blob_id: str, number: int) -> None:
        """Count `number` bytes of a file. Raises ServiceError 429 where they are more than there is room for.

        They count from then on: of two files that do not fit together the first goes on.
        """
        if self._is_current() and time.monotonic() < self._good_until and self._taken(blob_id, number):
            return
        asked_at = time.monotonic()
        while True:
            async with self._counting:
                # Nobody is refused for a figure of a time before the last byte.
                if not self._is_current() or self._counted_at < asked_at:
                    await self._count()
            if self._taken(blob_id, number):
                return
            if self._is_current():
                alone = self._kept + number > self.limit
                pause = FULL_RETRY_SECONDS if alone else RETRY_SECONDS
                raise no_room(self.limit, self._kept, retry_seconds=pause)

    def _taken(self, blob_id: str, number: int) -> bool:
        others = sum(self.arriving.values()) - self.arriving[blob_id] + sum(self.given_up.values())
        if self._kept + others + number > self.limit:
            return False
        self.arriving[blob_id] = number
        return True

    def _is_current(self) -> bool:
        """Whether no file has ended since the count: one that has may be kept by now."""
        return self._ended == self._ended_when_counted

    async def _count(self) -> None:
        ended, at = self._ended, time.monotonic()
        # A file of which the row is written already is counted once.
        apart = [*self.arriving]
        self._kept, left = await run_in_threadpool(_kept, self._tenant_id, apart, [*self.given_up])
        self.given_up = {blob_id: number for blob_id, number in self.given_up.items() if blob_id in left}
        self._ended_when_counted, self._counted_at = ended, at
        now = time.monotonic()
        self._good_until = now + max(KEPT_SECONDS, KEPT_SHARE * (now - at))


def _kept(tenant_id: str, apart: Collection[str], given_up: Collection[str]) -> tuple[int, set[str]]:
    """Stored bytes but for those of the files `apart`, and those of `given_up` that are still there."""
    with read_scope() as session:
        owed = select(BlobRemoval.blob_id).where(BlobRemoval.blob_id.in_(given_up))
        left = set(session.scalars(owed)) if given_up else set()
        return stored_bytes(session, tenant_id, apart=apart), left


class Incoming:
    """One file on its way in, of a tenant with or without a quota."""

    def __init__(self, tenant: _Tenant | None, expected: int = 0) -> None:
        self.blob_id = new_id("art")
        """Under which the store gets the bytes."""
        self.left = False
        """Whether bytes that nobody owns were left to a sweeper."""
        self._tenant, self._expected, self._received = tenant, expected, 0

    async def add(self, number: int) -> None:
        """Count so many bytes that have come. Raises ServiceError 429 where they pass the quota."""
        self._received += number
        if self._tenant is not None:
            await self._tenant.take(self.blob_id, max(self._received, self._expected))


_tenants: RunVar[dict[str, _Tenant]] = RunVar("_tenants")


@asynccontextmanager
async def receiving(tenant_id: str, expected: int = 0) -> AsyncIterator[Incoming]:
    """One file, which counts as on its way until the end of the block. Raises ServiceError 429.

    `expected` bytes have room from the beginning, so that of several files at the same time the first fit.
    """
    limit = quota_of(tenant_id).stored_bytes
    if limit is None:
        yield Incoming(None)
        return
    try:
        tenants = _tenants.get()
    except LookupError:  # of this event loop none have been made yet
        tenants = {}
        _tenants.set(tenants)
    tenant = tenants.setdefault(tenant_id, _Tenant(tenant_id, limit))
    tenant.limit = limit
    file = Incoming(tenant, expected)
    tenant.arriving[file.blob_id] = 0
    try:
        await file.add(0)
        yield file
    finally:
        tenant.end(file.blob_id, left=file.left)
        if not tenant.arriving and not tenant.given_up:
            del tenants[tenant_id]
