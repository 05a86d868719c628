"""Each request: its count and duration, its log line, its span.

Counts are kept by each server process and gathered over all of them: several processes share them through
files in PROMETHEUS_MULTIPROC_DIR, which has to be set before this is imported; `app.__main__` does so.
"""

from __future__ import annotations

import logging
import os
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.datastructures import Headers
from starlette.types import Scope

from app.platform.ids import is_id, new_id
from app.telemetry import tracing
from app.telemetry.context import bound

logger = logging.getLogger(__name__)

SHARED = "PROMETHEUS_MULTIPROC_DIR"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)

# Half as many series again, for what Prometheus knows by itself.
disable_created_metrics()  # type: ignore[no-untyped-call]
own = CollectorRegistry()
_seconds = Histogram(
    "dfad_http_request_seconds",
    "From a request's head to its answer's end, by route, not by address.",
    ("method", "route", "status"),
    buckets=BUCKETS,
    registry=own,
)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MACHINES_ASK = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds for ever: logged at debug."""
WORKERS_ASK = "/leases/"
"""Beginning of the routes that workers without a database ask, as often."""
WAITS = " (waits)"
"""Added to the route of a request that asked to wait for news: its duration is not ours."""


def observe(method: str, route: str, status: int, seconds: float) -> None:
    """One request. Whatever strangers choose is told as `other`, so that they cannot make series."""
    _seconds.labels(method, route, str(status)).observe(seconds)


def registry() -> CollectorRegistry:
    """Of all processes."""
    if SHARED not in os.environ:
        return own
    gathered = CollectorRegistry()
    MultiProcessCollector(gathered)  # type: ignore[no-untyped-call]
    return gathered


class Watched:
    """One request from its head to its answer's end, as a context manager around whatever answers it."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self.headers = Headers(scope=scope)
        self.request_id = new_id("req")
        self._open = ExitStack()
        self.status = 0
        """Of the answer; 0 while none has begun."""

    def __enter__(self) -> Self:
        self._begun = time.perf_counter()
        self._open.enter_context(bound(request_id=self.request_id))
        self._span = self._open.enter_context(
            tracing.span("request", kind="server", parent=self.headers.get("traceparent"))
        )
        return self

    def belongs_to(self, tenant_id: str) -> None:
        """Whose it is, for the lines to come."""
        self._open.enter_context(bound(tenant_id=tenant_id))
        self._span.set(tenant_id=tenant_id)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._begun
        scope = self._scope
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = _route(scope)
        waits = "wait" in self.headers.get("prefer", "")
        observe(method, route + WAITS if waits else route, self.status, seconds)
        job_id = scope.get("path_params", {}).get("job_id", "")
        about: dict[str, Any] = {
            "method": method,
            "route": route,
            "status": self.status,
            "seconds": round(seconds, 6),
        }
        if is_id(job_id, "job"):
            about["job_id"] = job_id
        if self.status >= 500:
            level = logging.WARNING
        else:
            asked_by_machines = route in MACHINES_ASK or route.startswith(WORKERS_ASK)
            level = logging.DEBUG if asked_by_machines else logging.INFO
        if logger.isEnabledFor(level):
            logger.log(level, "%s %s %d", method, route, self.status, extra=about)
        self._span.ends_request(f"{method} {route}", self.request_id, about)
        self._open.__exit__(kind, error, trace)


def _route(scope: Scope) -> str:
    """The path as the route has it, without anybody's ids."""
    return getattr(scope.get("route"), "path", None) or "other"
