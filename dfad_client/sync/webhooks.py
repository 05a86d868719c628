# Made from dfad_client/aio/webhooks.py by `python tools/sync_twin.py`: change that one, and run it.
"""Webhooks: be told of jobs by signed messages instead of asking."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dfad_client.answers import Json
from dfad_client.files import new_idempotency_key
from dfad_client.sync.transport import Transport


class Webhooks:
    """`client.webhooks`. Receivers verify the messages with any library of Standard Webhooks."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(
        self,
        url: str,
        *,
        events: Sequence[str] | None = None,
        description: str = "",
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """A new webhook. What its messages are signed with is in the field `secret`: keep it.

        `events` are names such as `job.failed`, or `job.*` for every change; None: the three ends of a job.
        """
        body: Json = {"url": url, "description": description, "metadata": dict(metadata or {})}
        if events is not None:
            body["events"] = list(events)
        made: Json = self._transport.json("POST", "/webhooks", json=body, headers=_key(idempotency_key))
        return made

    def list(self, *, page_size: int = 100) -> Iterator[Json]:
        """All webhooks, newest first, without their secrets."""
        for item in self._pages("/webhooks", {"limit": page_size}):
            yield item

    def retrieve(self, webhook_id: str) -> Json:
        """One webhook."""
        found: Json = self._transport.json("GET", f"/webhooks/{webhook_id}")
        return found

    def update(self, webhook_id: str, **changes: Any) -> Json:
        """Change its `url`, `events`, `description` or `metadata`, or whether it is `enabled`."""
        changed: Json = self._transport.json("PATCH", f"/webhooks/{webhook_id}", json=changes)
        return changed

    def delete(self, webhook_id: str) -> None:
        """Forget it with its log; what it is still owed is not sent."""
        self._transport.request("DELETE", f"/webhooks/{webhook_id}")

    def rotate_secret(self, webhook_id: str, *, overlap_hours: float = 24) -> Json:
        """A new `secret`; messages carry the old one's signature, too, for `overlap_hours`. Tried once."""
        path, query = f"/webhooks/{webhook_id}/rotate-secret", {"overlap_hours": overlap_hours}
        made: Json = self._transport.json("POST", path, params=query, repeatable=False)
        return made

    def test(self, webhook_id: str, *, idempotency_key: str | None = None) -> Json:
        """Send a `webhook.test`; the delivery, which `delivery` tells more of in a moment."""
        path = f"/webhooks/{webhook_id}/test"
        owed: Json = self._transport.json("POST", path, headers=_key(idempotency_key))
        return owed

    def deliveries(
        self, webhook_id: str, *, status: str | None = None, page_size: int = 100
    ) -> Iterator[Json]:
        """Its log, newest first: what it was sent or is owed. `status`: pending, delivered or failed."""
        query: dict[str, str | int] = {"limit": page_size}
        if status is not None:
            query["status"] = status
        for item in self._pages(f"/webhooks/{webhook_id}/deliveries", query):
            yield item

    def delivery(self, webhook_id: str, delivery_id: str) -> Json:
        """One line of the log."""
        found: Json = self._transport.json("GET", f"/webhooks/{webhook_id}/deliveries/{delivery_id}")
        return found

    def redeliver(self, webhook_id: str, delivery_id: str) -> Json:
        """Send the message again, under the same id."""
        path = f"/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver"
        owed: Json = self._transport.json("POST", path)
        return owed

    def _pages(self, path: str, query: dict[str, str | int]) -> Iterator[Json]:
        while True:
            page = self._transport.json("GET", path, params=query)
            for item in page["data"]:
                yield item
            if not page["has_more"]:
                return
            query["after"] = page["last_id"]


def _key(given: str | None) -> dict[str, str]:
    return {"Idempotency-Key": given or new_idempotency_key()}
