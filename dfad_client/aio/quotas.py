"""Quotas of tenants: what each may have at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

from dfad_client.aio.transport import AsyncTransport
from dfad_client.answers import Quota


class AsyncQuotas:
    """`client.quotas`; needs the operator's key. A tenant is a name, or `*` for everybody."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(self) -> AsyncIterator[Quota]:
        """Everybody's quota and those of all tenants with their own, by name."""
        for item in (await self._transport.json("GET", "/quotas"))["data"]:
            yield item

    async def get(self, tenant_id: str) -> Quota:
        """What holds for one tenant, and where it is set."""
        found: Quota = await self._transport.json("GET", _path(tenant_id))
        return found

    async def set(
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
        made: Quota = await self._transport.json("PUT", _path(tenant_id), json=body)
        return made

    async def delete(self, tenant_id: str) -> None:
        """Forget what was set; DFAD_QUOTAS of the server holds again. Idempotent."""
        await self._transport.request("DELETE", _path(tenant_id))


def _path(tenant_id: str) -> str:
    return f"/quotas/{quote(tenant_id, safe='*')}"
