"""Series thinned out for plots, on both databases.

Guards: no peak is lost, no more points than asked for, the ends stay, and nothing is made up
where nothing has to be left out.
"""

from __future__ import annotations

import math
from typing import Any

import pytest

PEAKS = {137: 50.0, 7777: -50.0}
STEPS = 10_000


@pytest.fixture
def job_id(each_database: str, stored_jobs: Any) -> str:
    from app.models import JobMetric
    from app.platform.db import session_scope

    made = str(stored_jobs.submit())
    with session_scope() as session:
        for step in range(1, STEPS + 1):
            series = {"loss": PEAKS.get(step, math.exp(-step / STEPS)), "flat": 1.0}
            if step > STEPS // 2:
                series["late"] = float(step)
            session.add(JobMetric(job_id=made, step=step, seconds=step / 10, series=series))
    return made


def test_peaks_stay(job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.jobs import series
    from app.platform.db import read_scope

    with read_scope() as session:
        even = series.readings(session, job_id, 100)
        peaks = series.with_peaks(session, job_id, 101)
        all_of_them = series.with_peaks(session, job_id, 10_000)
        monkeypatch.setattr(series, "MOST_READ", 1000)
        rare = series.with_peaks(session, job_id, 100)
    assert all(abs(point["loss"]) <= 1 for point in even)
    assert len(peaks) <= 101
    assert (peaks[0]["step"], peaks[-1]["step"]) == (1, STEPS)
    assert {min(p["loss"] for p in peaks), max(p["loss"] for p in peaks)} == set(PEAKS.values())
    assert all(point["flat"] == 1.0 for point in peaks)
    assert "late" not in peaks[0]
    assert peaks[-1]["late"] == STEPS
    smooth = [p["loss"] for p in peaks if 1000 < p["step"] < 7000]
    assert smooth == sorted(smooth, reverse=True)
    assert all_of_them[136] == {"step": 137, "seconds": 13.7, "loss": 50.0, "flat": 1.0}
    assert len(all_of_them) == STEPS
    assert len(rare) <= 100
    assert rare[-1]["step"] == STEPS
