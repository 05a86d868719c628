"""The service as a Python class."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import httpx2

from dfad_client import profiles
from dfad_client.aio.audit import AsyncAudit
from dfad_client.aio.jobs import AsyncJobs
from dfad_client.aio.keys import AsyncKeys
from dfad_client.aio.quotas import AsyncQuotas
from dfad_client.aio.teachers import AsyncTeachers
from dfad_client.aio.transport import AsyncTransport
from dfad_client.aio.uploads import AsyncUploads
from dfad_client.aio.webhooks import AsyncWebhooks
from dfad_client.answers import Capabilities, TenantUsage
from dfad_client.errors import ConnectionFailed
from dfad_client.retrying import OnWait


class AsyncClient:
    """A connection to one server; close it, or use it in an `async with` block.

    Address and key are what is given here, else DFAD_BASE_URL and DFAD_API_KEY, else those of the profile
    (`profile`, DFAD_PROFILE, or the file's default; see `dfad_client.profiles`).

    Calls that break or are refused for now are tried again, `retries` times, with one idempotency key, so
    that nothing is ever created twice. Refused for now means 408, 429, 5xx, and of the conflicts (409) an
    idempotent request that is still in work, or one with Retry-After; others, such as `invalid_transition`,
    are raised at once. Methods raise ApiError when the server refuses and ConnectionFailed when it does not
    answer. `on_wait` is told of every pause between two tries.

    `tenant` is for the operator: calls then act for the tenant of that name; with `*` they see what all
    tenants have, and those that change something are refused.
    """

    def __init__(
        self,
        base_url: str | None = None,
        api_key: str | None = None,
        *,
        profile: str | None = None,
        tenant: str | None = None,
        timeout_seconds: float = 60.0,
        retries: int = 4,
        backoff_seconds: float = 0.5,
        on_wait: OnWait | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        server = profiles.server(base_url, api_key, profile)
        self._transport = AsyncTransport(
            server.base_url,
            server.api_key,
            tenant=tenant,
            timeout_seconds=timeout_seconds,
            retries=retries,
            backoff_seconds=backoff_seconds,
            transport=transport,
            on_wait=on_wait,
        )
        self.jobs = AsyncJobs(self._transport)
        self.teachers = AsyncTeachers(self._transport)
        self.uploads = AsyncUploads(self._transport)
        self.keys = AsyncKeys(self._transport)
        self.webhooks = AsyncWebhooks(self._transport)
        self.audit = AsyncAudit(self._transport)
        self.quotas = AsyncQuotas(self._transport)

    @property
    def base_url(self) -> str:
        """The server's address."""
        return self._transport.base_url

    async def capabilities(self) -> Capabilities:
        """Methods with the JSON Schema of their parameters, architectures, formats, devices, limits."""
        body: Capabilities = await self._transport.json("GET", "/capabilities")
        return body

    async def usage(self, *, month: str | None = None, since_month: str | None = None) -> list[TenantUsage]:
        """One's quota, what is in use now and what was used by month; to the operator, of all tenants.

        `month` is one as `2026-11` (UTC), `since_month` the first of several; else it is the last twelve.
        """
        query: dict[str, str | int] = {"limit": 100}
        asked = {"month": month, "since_month": since_month}
        query |= {name: value for name, value in asked.items() if value is not None}
        found: list[TenantUsage] = []
        while True:
            page = await self._transport.json("GET", "/usage", params=query)
            found += page["data"]
            if not page["has_more"]:
                return found
            query["after"] = page["last_id"]

    async def readiness(self) -> dict[str, str]:
        """`ok` or what is wrong, for each of database, broker, storage and worker; asked once, not again."""
        answer = await self._transport.look("/readyz")
        try:
            return {str(name): str(state) for name, state in answer.json()["checks"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ConnectionFailed(f"What answers at {self.base_url} is not this service.") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
