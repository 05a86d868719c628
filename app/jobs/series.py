"""A job's series, whole or thinned out for plots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic_core import from_json
from sqlalchemy import ColumnElement, Select, Text, cast, func, select
from sqlalchemy.orm import Session

from app.models import JobMetric

MOST_READ = 100_000
"""Readings among which peaks are looked for; of more, every second, third … is looked at."""
DIGITS = 6
"""Of a peak's value: no drawing shows more, and half the bytes are sent."""
Points = list[dict[str, Any]]


def readings(session: Session, job_id: str, points: int | None = None) -> Points:
    """All of them, or about `points`, evenly apart and with the last; each as it was measured."""
    stride = 1 if points is None else _stride(session, job_id, points)
    rows = session.execute(_every(job_id, stride, JobMetric.series))
    return [{"step": step, "seconds": seconds, **series} for step, seconds, series in rows]


def with_peaks(session: Session, job_id: str, points: int) -> Points:
    """At most `points`: the ends of stretches, with the lowest and the highest value of every series in them.

    No peak is lost, and none is further from its place than its stretch is long. Where nothing has to be
    left out, all readings as they were measured. The values are compared here and not in the database:
    taking a dozen of them out of each text of JSON costs SQLite three times as much as handing it over.
    """
    length = -(-_count(session, job_id) // (points // 2))
    if length <= 2:
        return readings(session, job_id, points)
    stride = _stride(session, job_id, MOST_READ)
    length = -(-length // stride)
    query = _every(job_id, stride, cast(JobMetric.series, Text))
    rows = session.execute(query)
    return list(_ends(rows.partitions(length)))


def _count(session: Session, job_id: str) -> int:
    query = select(func.count()).select_from(JobMetric).where(JobMetric.job_id == job_id)
    return session.scalar(query) or 0


def _stride(session: Session, job_id: str, points: int) -> int:
    return max(1, -(-_count(session, job_id) // points))


def _every(job_id: str, stride: int, series: ColumnElement[Any] | Any) -> Select[Any]:
    """Every `stride`-th reading, counted from the last."""
    columns = (JobMetric.step, JobMetric.seconds, series.label("series"))
    mine = select(*columns).where(JobMetric.job_id == job_id).order_by(JobMetric.step)
    if stride == 1:
        return mine
    # The steps are counted in the index alone: what is left out is never read from its row.
    place = func.row_number().over(order_by=JobMetric.step.desc()).label("place")
    steps = select(JobMetric.step, place).where(JobMetric.job_id == job_id).subquery()
    return mine.where(JobMetric.step.in_(select(steps.c.step).where((steps.c.place - 1) % stride == 0)))


def _ends(stretches: Iterable[Sequence[Any]]) -> Iterator[dict[str, Any]]:
    """Two points for each stretch of (step, seconds, text); one where it is a single reading."""
    before: dict[str, float] = {}
    for rows in stretches:
        series = from_json(f"[{','.join(row[2] for row in rows)}]")
        if len(rows) == 1:
            yield {"step": rows[0][0], "seconds": rows[0][1], **series[0]}
            continue
        first: dict[str, float] = {}
        last: dict[str, float] = {}
        for name, values in _columns(series):
            low, high = min(values), max(values)
            # A curve that falls shows its highest value first: no saw where there is none.
            falls = low + high < before.get(name, low + high)
            before[name] = low + high
            ends = (high, low) if falls else (low, high)
            first[name], last[name] = (float(f"{value:.{DIGITS}g}") for value in ends)
        yield {"step": rows[0][0], "seconds": rows[0][1], **first}
        yield {"step": rows[-1][0], "seconds": rows[-1][1], **last}


def _columns(series: list[dict[str, Any]]) -> Iterator[tuple[str, Sequence[float]]]:
    """Each series' values; readings without one are left out."""
    names = series[0].keys()
    if all(one.keys() == names for one in series):
        columns: Iterable[tuple[Any, ...]] = zip(*(one.values() for one in series), strict=True)
        found = dict(zip(names, columns, strict=True))
    else:
        every = dict.fromkeys(name for one in series for name in one)
        found = {name: tuple(one.get(name) for one in series) for name in every}
    for name, values in found.items():
        numbers = [value for value in values if value is not None] if None in values else values
        if numbers:
            yield name, numbers
