"""Jobs, queue and workers, as the database has them when it is asked: every server tells the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import ColumnElement, case, func, select
from sqlalchemy.orm import Session

from app.db import database_now, read_scope
from app.health.service import live_workers
from app.jobs.states import Status
from app.models import Job


class JobCollector(Collector):
    """Reads at every scrape; keeps nothing."""

    def collect(self) -> Iterator[Metric]:
        """One short read."""
        with read_scope() as session:
            yield from _jobs(session)
            yield from _queue(session)
        workers = GaugeMetricFamily("dfad_workers", "Workers that were heard of lately.")
        workers.add_metric((), len(live_workers()))
        yield workers


def _jobs(session: Session) -> Iterator[Metric]:
    ended = _epoch(session, Job.finished_at) - _epoch(session, Job.started_at)
    lost = func.sum(case((Job.attempt > 1, Job.attempt - 1), else_=0))
    query = select(Job.status, func.count(), func.sum(ended), func.count(ended), lost).group_by(Job.status)
    rows = {status: rest for status, *rest in session.execute(query)}
    jobs = GaugeMetricFamily("dfad_jobs", "Jobs that are kept, by status.", labels=("status",))
    seconds = GaugeMetricFamily(
        "dfad_job_duration_seconds_sum", "Of the jobs that are kept, begin to end.", labels=("status",)
    )
    count = GaugeMetricFamily("dfad_job_duration_seconds_count", "Those jobs.", labels=("status",))
    for status in Status:
        number, total, of, _ = rows.get(status.value, (0, 0, 0, 0))
        jobs.add_metric((status.value,), number)
        if status.value in rows and of:
            seconds.add_metric((status.value,), float(total))
            count.add_metric((status.value,), of)
    again = GaugeMetricFamily(
        "dfad_job_retries", "Attempts beyond the first of the jobs that are kept: leases lost, runners dead."
    )
    again.add_metric((), sum(int(row[3] or 0) for row in rows.values()))
    yield from (jobs, seconds, count, again)


def _queue(session: Session) -> Iterator[Metric]:
    now = database_now(session)
    oldest = session.scalar(
        select(func.min(Job.created_at)).where(Job.status == Status.QUEUED, Job.run_after <= now)
    )
    age = GaugeMetricFamily("dfad_queue_age_seconds", "How long the oldest queued job has been there.")
    age.add_metric((), max(0.0, (now - oldest).total_seconds()) if oldest else 0.0)
    yield age
    speed = GaugeMetricFamily("dfad_step_seconds", "Of the jobs that run, the mean time of a step so far.")
    running = select(Job.step, Job.started_at).where(Job.status == Status.RUNNING, Job.step > 0)
    times = [(now - begun).total_seconds() / step for step, begun in session.execute(running) if begun]
    if times:
        speed.add_metric((), sum(times) / len(times))
    yield speed


def _epoch(session: Session, column: Any) -> ColumnElement[Any]:
    """Seconds since 1970."""
    if session.get_bind().dialect.name == "sqlite":
        return (func.julianday(column) - 2440587.5) * 86400.0
    return func.extract("epoch", column)
