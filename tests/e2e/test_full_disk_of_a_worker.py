"""A disk that is full under a running job: it is said, costs no attempt, and the job goes on by itself.

Guard: `put_off`, and reapers that leave time after a full disk. Tried: without it two attempts are lost to
"lease expired" within the time of this test.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.messaging.dispatch import send_due
from app.platform.settings import get_settings

LIGHT = "testing.light_worker"
MIB = 2**20
LEASE_SECONDS = 9
"""Longer than in other tests: a busy machine must not be what ends an attempt here."""
LAPSE_SECONDS = 15


class SmallDisk:
    """A disk of a few MiB that can be filled to its last byte."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self) -> None:
        with self._ballast.open("ab", buffering=0) as file:
            for size in (MIB, 4096):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def clear(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[Path], SmallDisk]]:
    """Mounts small disks; where that is not allowed the test is skipped."""
    mounted: list[Path] = []

    def mount(folder: Path) -> SmallDisk:
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", "size=8m", "small", str(folder)]
        if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
            pytest.skip("only root mounts a disk, and not on every machine")
        mounted.append(folder)
        return SmallDisk(folder)

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


@pytest.fixture(autouse=True)
def _patient(short_leases: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DFAD_LEASE_SECONDS", str(LEASE_SECONDS))
    get_settings.cache_clear()


@pytest.mark.parametrize("place", ["store", "database"])
def test_a_job_waits_for_space(
    database, home, workers, stored_jobs, monkeypatch, tmp_path, small_disk, place
):
    folder = home / "artifacts" if place == "store" else tmp_path / "disk"
    disk = small_disk(folder)
    if place == "store":
        monkeypatch.setenv("DFAD_ARTIFACT_STORE", "filesystem")
    else:
        shutil.copy(home / "dfad.sqlite3", folder)
        monkeypatch.setenv("DFAD_DATABASE_URL", f"sqlite+pysqlite:///{folder / 'dfad.sqlite3'}")
    get_settings.cache_clear()
    job_id = stored_jobs.submit(metadata={"pause": "4"})
    send_due()
    for _ in range(2):  # one works, and both look for leases that have lapsed
        workers.start(LIGHT)
    stored_jobs.wait(job_id, lambda row: row.phase == "distilling", 60)
    disk.fill()
    if place == "database":
        time.sleep(LAPSE_SECONDS)
        assert stored_jobs.row(job_id).status == "running", "nothing can be written"
    else:
        row = stored_jobs.wait(job_id, lambda row: row.waiting_reason == "storage_full", 60)
        assert (row.status, row.attempt) == ("queued", 0)
    disk.clear()
    row = stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 90)
    assert (row.status, row.attempt) == ("succeeded", 1)
    events = stored_jobs.events(job_id)
    reasons = {event.data.get("reason") for event in events if event.type == "job.requeued"}
    warnings = {event.data["code"] for event in events if event.type == "warning"}
    assert (reasons, warnings) == ({"storage full"}, {"storage_full"})


def test_a_disk_that_is_full_before_the_attempt(home, database, workers, stored_jobs, small_disk):
    """The teacher does not fit into the worker's scratch space; nobody says that the teacher is bad."""
    disk = small_disk(home / "scratch")
    disk.fill()
    job_id = stored_jobs.submit(metadata={"pause": "0"})
    send_due()
    workers.start(LIGHT)
    row = stored_jobs.wait(job_id, lambda row: row.waiting_reason == "storage_full", 60)
    assert (row.status, row.attempt) == ("queued", 0)
    time.sleep(3)
    disk.clear()
    row = stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 90)
    assert (row.status, row.attempt) == ("succeeded", 1)
