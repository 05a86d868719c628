"""Keys of the service: make, list, rotate, revoke."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from dfad_client.aio.transport import AsyncTransport
from dfad_client.answers import Json


class AsyncKeys:
    """`client.keys`; needs a key with the scope admin, or the operator's."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def create(
        self,
        name: str,
        *,
        scopes: Sequence[str] = ("read", "write"),
        tenant_id: str | None = None,
        expires_at: str | None = None,
    ) -> Json:
        """A new key. What opens the service is in its field `key`, and nowhere ever again.

        Tried once: the server keeps no secret that it could answer with a second time. Where the answer was
        lost, look for the key with `list` and revoke it.
        """
        body: Json = {"name": name, "scopes": list(scopes)}
        body |= {k: v for k, v in (("tenant_id", tenant_id), ("expires_at", expires_at)) if v is not None}
        made: Json = await self._transport.json("POST", "/keys", json=body, repeatable=False)
        return made

    async def list(self, *, page_size: int = 100) -> AsyncIterator[Json]:
        """All keys, newest first, without their secrets."""
        query: dict[str, str | int] = {"limit": page_size}
        while True:
            page = await self._transport.json("GET", "/keys", params=query)
            for item in page["data"]:
                yield item
            if not page["has_more"]:
                return
            query["after"] = page["last_id"]

    async def rotate(self, key_id: str, *, overlap_seconds: float = 86_400) -> Json:
        """The key with a new secret; what opens the service is in its field `key`, and nowhere ever again.

        The secret before it stays valid for `overlap_seconds`, 30 days at the most; 0 ends it at once. Tried
        once: where the answer was lost, rotate again, and the lost secret is the one that is replaced.
        """
        body: Json = {"overlap_seconds": overlap_seconds}
        path = f"/keys/{key_id}/rotate"
        rotated: Json = await self._transport.json("POST", path, json=body, repeatable=False)
        return rotated

    async def revoke(self, key_id: str) -> None:
        """From now on none of its secrets opens anything. Idempotent."""
        await self._transport.request("DELETE", f"/keys/{key_id}")
