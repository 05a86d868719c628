"""Numbers that only grow, kept in the database: they outlive processes, and the rows they were about.

`count` and `observe` only note; the notes are written in the transaction's last moment, ordered, so that a
row that many want is held briefly and two transactions never wait for one another in a circle. What is
rolled back was not counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from sqlalchemy import event, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.models import Counter

_NOTED = "counted"
_LABEL = re.compile(r"[a-z0-9_]{1,40}")


@dataclass(frozen=True)
class Family:
    """One metric: its text and the names of its labels."""

    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, seconds; none: a counter."""
    known: tuple[str, ...] = ()
    """Values of the one label that are 0 from the start: a rise from nothing is none to Prometheus."""


ENDS = ("succeeded", "failed", "cancelled")
REASONS = (
    "lease_expired", "its_worker_shut_down", "the_runner_died", "out_of_memory", "hung", "storage_full",
)  # fmt: skip
CODES = ("worker_lost", "runner_crashed", "out_of_memory", "hung", "deadline_exceeded", "engine_error")
"""Those of the service itself; the engine's come as they come."""
SECONDS = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 43200.0, 86400.0)
FAMILIES = {
    "dfad_leases_lost": Family("Attempts whose lease ran out: their worker died, or was cut off."),
    "dfad_jobs_requeued": Family("Attempts that another follows, by reason.", ("reason",), known=REASONS),
    "dfad_jobs_ended": Family("Jobs that ended, by how.", ("status",), known=ENDS),
    "dfad_jobs_failed": Family("Jobs that failed, by the code of their error.", ("code",), known=CODES),
    "dfad_checkpoints": Family("Checkpoints that were stored."),
    "dfad_job_duration_seconds": Family("Of ended jobs, first start to end.", ("status",), SECONDS, ENDS),
    "dfad_job_wait_seconds": Family("Of ended jobs, submission to first start.", (), SECONDS),
}


def count(session: Session, name: str, *labels: str, by: float = 1.0) -> None:
    """Add to a counter when the session's transaction commits."""
    safe = "|".join(label if _LABEL.fullmatch(label) else "other" for label in labels)
    _note(session, name, safe, by)


def observe(session: Session, name: str, seconds: float, *labels: str) -> None:
    """Add one duration to a histogram when the session's transaction commits."""
    bound = next((b for b in FAMILIES[name].buckets if seconds <= b), float("inf"))
    _note(session, name, "|".join((*labels, f"{bound:g}")), 1.0)
    _note(session, name, "|".join((*labels, "sum")), max(0.0, seconds))


def _note(session: Session, name: str, labels: str, by: float) -> None:
    noted: dict[tuple[str, str], float] = session.info.setdefault(_NOTED, {})
    noted[name, labels] = noted.get((name, labels), 0.0) + by


@event.listens_for(Session, "before_commit")
def _write(session: Session) -> None:
    noted = session.info.pop(_NOTED, None)
    if not noted:
        return
    rows = [{"name": name, "labels": labels, "value": by} for (name, labels), by in sorted(noted.items())]
    dialect: Any = sqlite if session.get_bind().dialect.name == "sqlite" else postgresql
    insert = dialect.insert(Counter).values(rows)
    more = {"value": Counter.value + insert.excluded.value}
    session.execute(insert.on_conflict_do_update(index_elements=["name", "labels"], set_=more))


def families(session: Session) -> Iterator[Metric]:
    """All of them, for Prometheus."""
    found: dict[str, dict[str, float]] = {name: {} for name in FAMILIES}
    for name, labels, value in session.execute(select(Counter.name, Counter.labels, Counter.value)):
        if name in found:
            found[name][labels] = value
    for name, family in FAMILIES.items():
        yield _histogram(name, family, found[name]) if family.buckets else _counter(name, family, found[name])


def _counter(name: str, family: Family, values: dict[str, float]) -> Metric:
    metric = CounterMetricFamily(name, family.help, labels=family.labels)
    nothing = dict.fromkeys(family.known if family.labels else ("",), 0.0)
    for labels, value in sorted({**nothing, **values}.items()):
        metric.add_metric(labels.split("|") if family.labels else (), value)
    return metric


def _histogram(name: str, family: Family, values: dict[str, float]) -> Metric:
    """Prometheus' buckets are cumulative, ours are not."""
    metric = HistogramMetricFamily(name, family.help, labels=family.labels)
    nothing = [(status,) for status in family.known] if family.labels else [()]
    by_labels: dict[tuple[str, ...], dict[str, float]] = {labels: {} for labels in nothing}
    for labels, value in values.items():
        *own, which = labels.split("|")
        by_labels.setdefault(tuple(own), {})[which] = value
    for own_labels, counts in sorted(by_labels.items()):
        total, buckets = 0.0, []
        for bound in (*family.buckets, float("inf")):
            total += counts.get(f"{bound:g}", 0.0)
            buckets.append(("+Inf" if bound == float("inf") else str(bound), total))
        metric.add_metric(own_labels, buckets, counts.get("sum", 0.0))
    return metric
