"""Requests a minute, for each tenant: over all servers where there is a Redis, else in each by itself."""

from __future__ import annotations

import logging
import math
import time

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, Storage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.storage import storage_from_string
from redis.exceptions import RedisError

from app.access.quotas import used_up
from app.access.usage.quota_store import quota_of
from app.platform.settings import Settings

logger = logging.getLogger(__name__)


class RateLimit:
    """Counts requests in a sliding window."""

    def __init__(self, settings: Settings) -> None:
        self._own = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._shared: SlidingWindowCounterRateLimiter | None = None
        url = settings.resolved_broker_url
        if url.startswith(("redis://", "rediss://")):
            storage = storage_from_string(f"async+{url}", implementation="redispy")
            assert isinstance(storage, Storage)
            self._shared = SlidingWindowCounterRateLimiter(storage)

    async def hit(self, tenant_id: str) -> None:
        """Count one request. Raises ServiceError 429 past the tenant's limit."""
        limit = quota_of(tenant_id).requests_per_minute
        if limit is None:
            return
        item = RateLimitItemPerMinute(limit)
        limiter = self._shared or self._own
        try:
            await self._count(limiter, item, limit, tenant_id)
        except (RedisError, OSError) as error:
            logger.warning("counting requests here alone: Redis is away (%s)", type(error).__name__)
            await self._count(self._own, item, limit, tenant_id)

    async def _count(
        self,
        limiter: SlidingWindowCounterRateLimiter,
        item: RateLimitItemPerMinute,
        limit: int,
        tenant_id: str,
    ) -> None:
        if await limiter.hit(item, "dfad", tenant_id):
            return
        window = await limiter.get_window_stats(item, "dfad", tenant_id)
        wait = max(1, math.ceil(window.reset_time - time.time()))
        use = f"{limit} of {limit} in use, by requests of the last minute"
        advice = f"There is room again in {wait} s."
        raise used_up("requests_per_minute", use, advice, retry_seconds=wait)
