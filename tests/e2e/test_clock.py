"""Clocks of workers that are wrong, or jump: leases know the database's alone.

Guard: `database_now`. Tried: with `datetime.now(UTC)` in its place the reaper of the worker that is hours
ahead takes the job away from the other.
"""

import shutil
import time
from pathlib import Path

import pytest

from app.messaging.dispatch import send_due
from app.platform.settings import get_settings

HOUR = 3600
LIGHT = "testing.light_worker"
LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib/faketime/libfaketimeMT.so.1")


@pytest.fixture
def faketime(missing):
    """The library that shifts a process's clock."""
    found = [path for pattern in LIBRARIES for path in Path("/").glob(pattern[1:])]
    if not found or not shutil.which("faketime"):
        missing("faketime")
    return str(found[0])


@pytest.mark.services
def test_jumping_clocks_expire_nothing(
    postgres, redis, workers, stored_jobs, monkeypatch, faketime, tmp_path
):
    monkeypatch.setenv("DFAD_DATABASE_URL", postgres)
    monkeypatch.setenv("DFAD_BROKER_URL", redis)
    get_settings.cache_clear()

    def shifted(name: str, offset: str) -> Path:
        file = tmp_path / name
        file.write_text(offset)
        fake = {"LD_PRELOAD": faketime, "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1"}
        workers.start(LIGHT, **fake, FAKETIME_DONT_FAKE_MONOTONIC="1", FAKETIME_DONT_RESET="1")
        return file

    ahead, behind = shifted("ahead", "+0"), shifted("behind", "-3h")
    jobs = [stored_jobs.submit(metadata={"pause": "6"}) for _ in range(2)]
    send_due()
    for job_id in jobs:
        stored_jobs.wait(job_id, lambda row: row.phase == "distilling", 60)
    ahead.write_text("+5h")  # the clock of one is set while both work
    time.sleep(1)
    behind.write_text("-9h")
    rows = [stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 60) for job_id in jobs]
    assert [(row.status, row.attempt) for row in rows] == [("succeeded", 1)] * 2
    for row in rows:
        assert 5 < (row.finished_at - row.started_at).total_seconds() < 60


def test_a_machine_whose_clock_is_set_loses_no_attempt(
    database, short_leases, monkeypatch, workers, stored_jobs, tmp_path
):
    """On SQLite there is no clock but the machine's, and it is set ahead, and back, while jobs run and wait.

    Guard: `steady_now`. Tried: with `database_now` in its place the reaper ends the first attempt, and the
    second job waits for hours.
    """
    monkeypatch.setenv("DFAD_LEASE_SECONDS", "15")  # a busy machine must not be what ends an attempt
    get_settings.cache_clear()
    clock = tmp_path / "clock"
    clock.write_text("0")
    for _ in range(2):  # one works, and both look for leases that have lapsed
        workers.start("tests.e2e.shifted_worker", CLOCK_FILE=str(clock))
    first = stored_jobs.submit(metadata={"pause": "8"})
    send_due()
    stored_jobs.wait(first, lambda row: row.phase == "distilling", 60)
    for ahead in (5 * HOUR, -3 * HOUR, 50 * HOUR):
        clock.write_text(str(ahead))
        time.sleep(1.5)
    clock.write_text(str(-9 * HOUR))
    second = stored_jobs.submit(metadata={"pause": "0"})  # by a clock that is hours ahead of the workers'
    send_due()
    jobs = (first, second)
    rows = [stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 60) for job_id in jobs]
    assert [(row.status, row.attempt) for row in rows] == [("succeeded", 1)] * 2
