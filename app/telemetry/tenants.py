"""Jobs, device seconds and requests by tenant, as the database has them: every server tells the same.

Tenants without end would be series without end: the first NAMED that ever used something are named, those
after them are `other`. Who is named once stays named, so that no counter ever falls.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.models import Job, MonthlyUsage
from app.models.tenancy import as_system
from app.platform.db import read_scope
from app.telemetry.jobs import Kept

NAMED = 50
OTHER = "other"
"""No tenant is confused with it: one of that name is a part of it."""


class TenantCollector(Collector):
    """Reads at every scrape; what is dear to read is kept a little."""

    def __init__(self) -> None:
        self._jobs, self._sums = Kept(_jobs), Kept(_sums)

    def collect(self) -> Iterator[Metric]:
        """Two short reads."""
        with as_system(), read_scope() as session:
            jobs: dict[Any, float] = dict(self._jobs.get(session))
            sums = self._sums.get(session)
        named = {tenant for tenant in list(sums)[:NAMED] if tenant != OTHER}
        yield _summed(
            GaugeMetricFamily("dfad_tenant_jobs", "Jobs that are kept.", labels=("tenant", "status")),
            named,
            jobs,
        )
        text = "That attempts held a worker, by the device they ran on."
        seconds = CounterMetricFamily("dfad_tenant_device_seconds", text, labels=("tenant", "device"))
        values: dict[tuple[str, ...], float]
        values = {(tenant, device): row[device] for tenant, row in sums.items() for device in ("cpu", "cuda")}
        yield _summed(seconds, named, values)
        text = "Requests that were let in; written down every few seconds."
        requests = CounterMetricFamily("dfad_tenant_requests", text, labels=("tenant",))
        yield _summed(requests, named, {(tenant,): row["requests"] for tenant, row in sums.items()})


def _summed(metric: Any, named: set[str], values: Mapping[tuple[str, ...], float]) -> Metric:
    found: dict[tuple[str, ...], float] = defaultdict(float)
    for labels, value in values.items():
        tenant, *more = labels
        found[tenant if tenant in named else OTHER, *more] += value
    for labels, value in sorted(found.items()):
        metric.add_metric(labels, value)
    family: Metric = metric
    return family


def _jobs(session: Session) -> dict[Any, Any]:
    query = select(Job.tenant_id, Job.status, func.count()).group_by(Job.tenant_id, Job.status)
    return {(tenant, status): number for tenant, status, number in session.execute(query)}


def _sums(session: Session) -> dict[Any, Any]:
    """Of all months, by tenant, in the order in which they first used something."""
    row = MonthlyUsage
    sums = (func.sum(row.cpu_seconds), func.sum(row.cuda_seconds), func.sum(row.requests))
    query = select(row.tenant_id, *sums).group_by(row.tenant_id)
    found = session.execute(query.order_by(func.min(row.created_at), row.tenant_id))
    return {
        tenant: {"cpu": cpu, "cuda": cuda, "requests": int(requests)} for tenant, cpu, cuda, requests in found
    }
