"""Requests of each tenant, counted in memory and written down every few seconds."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from sqlalchemy.orm import Session

from app.access.usage.counts import add


class RequestCounts:
    """Requests that one server process has let in and not written down yet.

    A server that is killed loses those of the seconds since the last time; one that is told to stop loses
    none. Where the answer to a commit is lost, those seconds count twice.
    """

    def __init__(self) -> None:
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._by_tenant: dict[str, int] = {}

    def add(self, tenant_id: str, number: int = 1) -> None:
        """Count requests of a tenant."""
        with self._lock:
            self._by_tenant[tenant_id] = self._by_tenant.get(tenant_id, 0) + number

    @contextmanager
    def taken(self) -> Iterator[Mapping[str, int]]:
        """Those counted so far, by tenant, for whoever writes them down in the block; kept if that fails.

        One block after the other: whoever comes last, at the end of the process, leaves nothing behind.
        """
        with self._writing:
            with self._lock:
                taken, self._by_tenant = self._by_tenant, {}
            try:
                yield taken
            except BaseException:
                for tenant_id, number in taken.items():
                    self.add(tenant_id, number)
                raise


def add_requests(session: Session, requests: Mapping[str, int]) -> None:
    """Add them to the month's sums."""
    add(session, {tenant_id: {"requests": number} for tenant_id, number in requests.items()})
