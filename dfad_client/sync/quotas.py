# Made from dfad_client/aio/quotas.py by `python tools/sync_twin.py`: change that one, and run it.
"""Quotas of tenants: what each may have at a time."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from dfad_client.answers import Quota
from dfad_client.sync.transport import Transport


class Quotas:
    """`client.quotas`; needs the operator's key. A tenant is a name, or `*` for everybody."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list(self) -> Iterator[Quota]:
        """Everybody's quota and those of all tenants with their own, by name."""
        for item in (self._transport.json("GET", "/quotas"))["data"]:
            yield item

    def get(self, tenant_id: str) -> Quota:
        """What holds for one tenant, and where it is set."""
        found: Quota = self._transport.json("GET", _path(tenant_id))
        return found

    def set(
        self,
        tenant_id: str,
        *,
        queued_jobs: int | None = None,
        running_jobs: int | None = None,
        stored_bytes: int | None = None,
        requests_per_minute: int | None = None,
    ) -> Quota:
        """Set the tenant's limits in the place of all that were set so before; None: not set.

        In force within a few seconds. A limit that is not set here is looked for in DFAD_QUOTAS of the
        server and in everybody's quota.
        """
        body = {
            "queued_jobs": queued_jobs,
            "running_jobs": running_jobs,
            "stored_bytes": stored_bytes,
            "requests_per_minute": requests_per_minute,
        }
        made: Quota = self._transport.json("PUT", _path(tenant_id), json=body)
        return made

    def delete(self, tenant_id: str) -> None:
        """Forget what was set; DFAD_QUOTAS of the server holds again. Idempotent."""
        self._transport.request("DELETE", _path(tenant_id))


def _path(tenant_id: str) -> str:
    return f"/quotas/{quote(tenant_id, safe='*')}"
