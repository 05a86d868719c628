"""Webhooks by the client: its calls against the real service, in this process."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

from dfad_client import ApiError, AsyncClient, Client

URL = "https://hooks.example.com/in"


def test_every_call(database: str) -> None:
    from app.main import create_app

    transport = httpx2.ASGITransport(app=create_app())

    async def walk() -> None:
        async with AsyncClient("http://testserver", transport=transport) as client:
            hooks = client.webhooks
            made = await hooks.create(URL, events=["job.*"], description="ours", metadata={"a": "b"})
            assert made["secret"].startswith("whsec_")
            usual = await hooks.create(URL, idempotency_key="mine")
            assert usual == await hooks.create(URL, idempotency_key="mine")
            assert usual["events"] == ["job.succeeded", "job.failed", "job.cancelled"]
            listed = [webhook async for webhook in hooks.list(page_size=1)]
            assert [webhook["id"] for webhook in listed] == [usual["id"], made["id"]]
            assert await hooks.retrieve(made["id"]) == listed[1]
            assert (await hooks.update(made["id"], enabled=False))["enabled"] is False
            assert (await hooks.rotate_secret(made["id"], overlap_hours=1))["secret"] != made["secret"]
            owed = await hooks.test(made["id"])
            assert await hooks.delivery(made["id"], owed["id"]) == owed
            assert [line["id"] async for line in hooks.deliveries(made["id"])] == [owed["id"]]
            assert [line async for line in hooks.deliveries(made["id"], status="failed")] == []
            assert (await hooks.redeliver(made["id"], owed["id"]))["status"] == "pending"
            await hooks.delete(made["id"])
            assert [webhook["id"] async for webhook in hooks.list()] == [usual["id"]]

    asyncio.run(walk())


def test_a_refusal_and_what_is_tried_again(client: Client, server: Any, fake: Any) -> None:
    server.on("POST", "/webhooks", fake.problem(422, "webhook_url_refused"))
    with pytest.raises(ApiError) as refused:
        client.webhooks.create("http://127.0.0.1/")
    assert refused.value.code == "webhook_url_refused"
    made = httpx2.Response(201, json={"id": "whk_1", "secret": "whsec_"})
    server.on("POST", "/webhooks", httpx2.ReadTimeout("slow"), made)
    assert client.webhooks.create(URL)["id"] == "whk_1"
    first, second = (r.headers["idempotency-key"] for r in server.sent("POST", "/webhooks")[-2:])
    assert first == second
    # Not this: a second secret would be made that nobody has seen.
    server.on("POST", "/webhooks/whk_1/rotate-secret", fake.problem(503, "unavailable"))
    with pytest.raises(ApiError):
        client.webhooks.rotate_secret("whk_1")
    assert len(server.sent("POST", "/webhooks/whk_1/rotate-secret")) == 1
