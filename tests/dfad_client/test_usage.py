"""Usage and quotas by the client: its calls against the real service, in this process."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2

from dfad_client import AsyncClient, Client

LIMITS = ("queued_jobs", "running_jobs", "stored_bytes", "requests_per_minute")


def test_every_call(database: str) -> None:
    from app.access.usage import counts
    from app.main import create_app
    from app.platform.db import session_scope

    transport = httpx2.ASGITransport(app=create_app())
    with session_scope() as session:
        for tenant in ("acme", "vision"):
            counts.note(session, tenant, jobs_submitted=1)

    async def walk() -> None:
        async with AsyncClient("http://testserver", transport=transport) as client:
            quotas = client.quotas
            assert [quota["tenant_id"] async for quota in quotas.list()] == ["*"]
            made = await quotas.set("acme", running_jobs=4, stored_bytes=10)
            assert made["holds"] == {**dict.fromkeys(LIMITS), "running_jobs": 4, "stored_bytes": 10}
            assert (await quotas.set("*", queued_jobs=7))["stored"] == {
                **dict.fromkeys(LIMITS), "queued_jobs": 7,
            }  # fmt: skip
            assert await quotas.get("acme") == {
                **made, "holds": {**made["holds"], "queued_jobs": 7},
            }  # fmt: skip
            await quotas.delete("acme")
            assert [quota["tenant_id"] async for quota in quotas.list()] == ["*"]
            found = await client.usage()
            assert [one["tenant_id"] for one in found] == ["acme", "vision"]
            assert found[0]["quota"]["queued_jobs"] == 7
            month = found[0]["months"][0]
            assert month["jobs_submitted"] == 1
            assert await client.usage(month=month["month"]) == found
            assert await client.usage(month="2020-01") == []
            assert await client.usage(since_month="2020-01") == found

    asyncio.run(walk())


def test_usage_comes_a_page_at_a_time(client: Client, server: Any) -> None:
    first = {"data": [{"tenant_id": "a"}], "has_more": True, "last_id": "a"}
    second = {"data": [{"tenant_id": "b"}], "has_more": False, "last_id": "b"}
    server.on("GET", "/usage", httpx2.Response(200, json=first), httpx2.Response(200, json=second))
    assert [one["tenant_id"] for one in client.usage(month="2026-11")] == ["a", "b"]
    assert [dict(request.url.params) for request in server.sent("GET", "/usage")] == [
        {"limit": "100", "month": "2026-11"},
        {"limit": "100", "month": "2026-11", "after": "a"},
    ]
