"""Jobs, queue and stored bytes, as the database has them when it is asked: every server tells the same."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from app.models import Artifact, Job, JobMetric, OutboxMessage
from app.models.clock import steady_now
from app.models.job_states import LEASED, Status
from app.models.tenancy import as_system
from app.platform.db import database_now, read_scope
from app.telemetry import counters

SHARE = 20.0
"""What took a second is kept for so many: asking costs at most a twentieth of the time."""
QUICK_SECONDS = 0.05
"""What took less is not kept."""
DEVICES = ("auto", "cuda", "cpu")


class Kept:
    """A result that is read again when its age is worth it."""

    def __init__(self, read: Callable[[Session], dict[str, Any]]) -> None:
        self._read, self._lock = read, threading.Lock()
        self._until, self._result = 0.0, dict[str, Any]()

    def get(self, session: Session) -> dict[str, Any]:
        """The result; of several who ask at once, one reads."""
        with self._lock:
            begun = time.monotonic()
            if begun >= self._until:
                self._result = self._read(session)
                took = time.monotonic() - begun
                self._until = begun + took * SHARE if took > QUICK_SECONDS else 0.0
            return self._result


class JobCollector(Collector):
    """Reads at every scrape; what is dear to read is kept a little."""

    def __init__(self) -> None:
        self._statuses, self._stored = Kept(_statuses), Kept(_stored)

    def collect(self) -> Iterator[Metric]:
        """Short reads."""
        with as_system(), read_scope() as session:
            yield _by("dfad_jobs", "Jobs that are kept, by status.", "status", self._statuses.get(session))
            yield _retries(session)
            yield from _queue(session)
            yield from _running(session)
            stored = self._stored.get(session)
            bytes_ = {kind: size for kind, (size, _) in stored.items()}
            files = {kind: number for kind, (_, number) in stored.items()}
            yield _by("dfad_stored_bytes", "Of artifacts, by kind; shared ones once.", "kind", bytes_)
            yield _by("dfad_artifacts", "Artifacts that are kept, by kind; shared bytes once.", "kind", files)
            yield from counters.families(session)


def _by(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    metric = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        metric.add_metric((key,), value)
    return metric


def _statuses(session: Session) -> dict[str, Any]:
    query = select(Job.status, func.count()).group_by(Job.status)
    found = {status: number for status, number in session.execute(query)}  # noqa: C416  (rows are no pairs)
    return {status.value: found.get(status, 0) for status in Status}


def _stored(session: Session) -> dict[str, Any]:
    """kind -> bytes and number. The artifact that brought shared bytes tells their kind."""
    own = select(func.min(Artifact.kind).label("kind"), func.max(Artifact.bytes).label("size"))
    blobs = own.group_by(Artifact.blob_id).subquery()
    query = select(blobs.c.kind, func.sum(blobs.c.size), func.count()).group_by(blobs.c.kind)
    return {kind: (int(size), number) for kind, size, number in session.execute(query)}


def _retries(session: Session) -> Metric:
    alive = Job.status.in_([Status.QUEUED, *LEASED])
    lost = select(func.sum(Job.attempt - case((Job.status == Status.QUEUED, 0), else_=1))).where(alive)
    metric = GaugeMetricFamily("dfad_job_retries", "Attempts that jobs not yet over have lost.")
    metric.add_metric((), session.scalar(lost) or 0)
    return metric


def _queue(session: Session) -> Iterator[Metric]:
    now = database_now(session)
    steady = steady_now(session)
    due = (Job.status == Status.QUEUED, Job.run_after <= steady)
    query = select(Job.device, func.count(), func.min(Job.created_at)).where(*due).group_by(Job.device)
    depth, ages = dict.fromkeys(DEVICES, 0), dict.fromkeys(DEVICES, 0.0)
    for device, number, oldest in session.execute(query):
        depth[device], ages[device] = number, max(0.0, (now - oldest).total_seconds())
    age = GaugeMetricFamily("dfad_queue_age_seconds", "How long the oldest queued job has been there.")
    age.add_metric((), max(ages.values()))
    yield age
    yield _by("dfad_device_queue_depth", "Jobs that could start now, by device asked for.", "device", depth)
    yield _by("dfad_device_queue_age_seconds", "Age of the oldest of them.", "device", ages)
    late = select(func.count()).where(OutboxMessage.due_at <= steady).select_from(OutboxMessage)
    outbox = GaugeMetricFamily("dfad_outbox_messages", "Messages that are due and not with the broker yet.")
    outbox.add_metric((), session.scalar(late) or 0)
    yield outbox


def _running(session: Session) -> Iterator[Metric]:
    """By the device that was asked for. A step's time is the training's, else that since the start."""
    now = database_now(session)
    point = and_(JobMetric.job_id == Job.id, JobMetric.step == Job.step)
    query = select(Job.device, Job.step, Job.started_at, JobMetric.seconds).outerjoin(JobMetric, point)
    number = dict.fromkeys(DEVICES, 0)
    times: dict[str, list[float]] = defaultdict(list)
    for device, step, begun, seconds in session.execute(query.where(Job.status.in_(LEASED))):
        number[device] = number.get(device, 0) + 1
        if step > 0 and begun is not None:
            took = seconds if seconds is not None else (now - begun).total_seconds()
            times[device].append(took / step)
    yield _by("dfad_device_running_jobs", "Jobs that a worker holds, by device asked for.", "device", number)
    means = {device: sum(of) / len(of) for device, of in times.items()}
    yield _by("dfad_device_step_seconds", "Of those, the mean time of a step.", "device", means)
    speed = GaugeMetricFamily("dfad_step_seconds", "Of the jobs that run, the mean time of a step so far.")
    every = [took for of in times.values() for took in of]
    if every:
        speed.add_metric((), sum(every) / len(every))
    yield speed
