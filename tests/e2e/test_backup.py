"""A backup taken while jobs run, restored elsewhere: the restored service finishes all of them."""

import shutil
import sqlite3
import subprocess

import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from app.config import get_settings
from app.db import dispose_engine, read_scope
from app.dispatch import producer, send_due
from app.models import Artifact, Job
from app.storage import get_store

LIGHT = "benchmarks.chaos_worker"


def begun(stored_jobs, workers):
    """Four jobs: one that is over, one that runs and has a checkpoint, two that wait."""
    workers.start(LIGHT)
    over = stored_jobs.submit(metadata={"pause": "0"})
    send_due()
    stored_jobs.wait(over, lambda row: row.finished_at is not None, 60)
    running = stored_jobs.submit(metadata={"pause": "5"})
    waiting = [stored_jobs.submit(metadata={"pause": "0"}) for _ in range(2)]
    send_due()
    stored_jobs.wait(running, lambda row: "checkpoint" in stored_jobs.artifacts(running), 60)
    return over, running, *waiting


def finishes(stored_jobs, workers, jobs):
    """The service over the restored database ends them all, the running one from its checkpoint."""
    get_settings.cache_clear()
    get_store.cache_clear()
    producer.cache_clear()
    dispose_engine()
    assert [stored_jobs.row(job_id).status for job_id in jobs] == ["succeeded", "running", "queued", "queued"]
    workers.start(LIGHT)
    rows = [stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 90) for job_id in jobs]
    assert [(row.status, row.attempt) for row in rows] == [
        ("succeeded", 1), ("succeeded", 2), ("succeeded", 1), ("succeeded", 1),
    ]  # fmt: skip
    assert rows[1].result["begun"] == 3
    with read_scope() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 4
        for student in session.scalars(select(Artifact).where(Artifact.kind == "student")):
            assert sum(len(piece) for piece in get_store().read(student.blob_id)) == student.bytes


@pytest.mark.timeout(170)
def test_sqlite(database, home, workers, stored_jobs, monkeypatch, tmp_path):
    jobs = begun(stored_jobs, workers)
    other = tmp_path / "restored"
    other.mkdir()
    with sqlite3.connect(home / "dfad.sqlite3") as live, sqlite3.connect(tmp_path / "backup") as copy:
        live.backup(copy)
    workers.close()  # the machine is lost, with all that came after
    shutil.copy(tmp_path / "backup", other / "dfad.sqlite3")
    monkeypatch.setenv("DFAD_HOME", str(other))
    finishes(stored_jobs, workers, jobs)


@pytest.mark.services
@pytest.mark.timeout(170)
def test_postgresql(postgres, redis, workers, stored_jobs, monkeypatch, tmp_path):
    from tests.conftest import _on_server

    server = postgres.rpartition("/")[0]
    monkeypatch.setenv("DFAD_DATABASE_URL", postgres)
    monkeypatch.setenv("DFAD_BROKER_URL", redis)
    get_settings.cache_clear()
    jobs = begun(stored_jobs, workers)
    plain = make_url(postgres).set(drivername="postgresql").render_as_string(hide_password=False)
    dump = tmp_path / "dump"
    subprocess.run(["pg_dump", "--format=custom", f"--file={dump}", plain], check=True, timeout=60)
    workers.close()
    name = "restored_" + make_url(postgres).database
    _on_server(server, f"CREATE DATABASE {name}")
    url = f"{server}/{name}"
    target = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    restore = ["pg_restore", "--no-owner", f"--dbname={target}", str(dump)]
    subprocess.run(restore, check=True, timeout=60)
    subprocess.run(["redis-cli", "-u", redis, "FLUSHALL"], check=True, capture_output=True, timeout=20)
    monkeypatch.setenv("DFAD_DATABASE_URL", url)
    try:
        finishes(stored_jobs, workers, jobs)
    finally:
        workers.close()
        dispose_engine()
        _on_server(server, f"DROP DATABASE {name} WITH (FORCE)")
