"""Counts and durations of requests, kept by each server process, gathered over all of them.

Several processes share them through files in PROMETHEUS_MULTIPROC_DIR, which has to be set before this is
imported; `app.__main__` does so.
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.multiprocess import MultiProcessCollector

SHARED = "PROMETHEUS_MULTIPROC_DIR"
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)

own = CollectorRegistry()
_seconds = Histogram(
    "dfad_http_request_seconds",
    "From a request's head to its answer's end, by route, not by address.",
    ("method", "route", "status"),
    buckets=BUCKETS,
    registry=own,
)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def observe(method: str, route: str, status: int, seconds: float) -> None:
    """One request. Whatever strangers choose is told as `other`, so that they cannot make series."""
    name = method if method in METHODS else "other"
    _seconds.labels(name, route, str(status)).observe(seconds)


def registry() -> CollectorRegistry:
    """Of all processes."""
    if SHARED not in os.environ:
        return own
    gathered = CollectorRegistry()
    MultiProcessCollector(gathered)  # type: ignore[no-untyped-call]
    return gathered
