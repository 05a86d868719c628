"""A backup taken while jobs run, restored elsewhere: the restored service finishes all of them.

The commands are those of docs/operations.md, but for the names of databases.
"""

import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from app.messaging.dispatch import producer, send_due
from app.models import Artifact, Job
from app.platform.db import dispose_engine, read_scope
from app.platform.settings import get_settings
from app.storage import get_store

LIGHT = "testing.light_worker"
GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"


def documented(command):
    """What is tried here is what the guide tells to do."""
    assert command in GUIDE.read_text()


def begun(stored_jobs, workers):
    """Four jobs: one that is over, one that runs and has a checkpoint, two that wait."""
    workers.start(LIGHT)
    over = stored_jobs.submit(metadata={"pause": "0"})
    send_due()
    stored_jobs.wait(over, lambda row: row.finished_at is not None, 60)
    running = stored_jobs.submit(metadata={"pause": "5"})
    send_due()
    stored_jobs.wait(running, lambda row: "checkpoint" in stored_jobs.artifacts(running), 60)
    waiting = [stored_jobs.submit(metadata={"pause": "0"}) for _ in range(2)]  # now none overtakes it
    send_due()
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
    assert rows[1].result["versions"]["resumed_from"] == "3"
    with read_scope() as session:
        assert session.scalar(select(func.count()).select_from(Job)) == 4
        for student in session.scalars(select(Artifact).where(Artifact.kind == "student")):
            assert sum(len(piece) for piece in get_store().read(student.blob_id)) == student.bytes


@pytest.mark.timeout(170)
def test_sqlite(database, home, workers, stored_jobs, monkeypatch, tmp_path, missing):
    if shutil.which("sqlite3") is None:
        missing("sqlite3")
    jobs = begun(stored_jobs, workers)
    other = tmp_path / "restored"
    other.mkdir()
    saved = tmp_path / "dfad-backup.sqlite3"
    documented('sqlite3 .dfad/dfad.sqlite3 ".backup dfad-backup.sqlite3"')
    command = ["sqlite3", str(home / "dfad.sqlite3"), f".backup {saved}"]
    subprocess.run(command, check=True, timeout=60)
    asked = ["sqlite3", str(saved), "PRAGMA integrity_check"]
    assert subprocess.run(asked, check=True, capture_output=True, timeout=60).stdout == b"ok\n"
    workers.close()  # the machine is lost, with all that came after
    shutil.copy(saved, other / "dfad.sqlite3")
    monkeypatch.setenv("DFAD_HOME", str(other))
    finishes(stored_jobs, workers, jobs)


@pytest.mark.services
@pytest.mark.timeout(170)
def test_postgresql(postgres, redis, workers, stored_jobs, monkeypatch, tmp_path):
    server = postgres.rpartition("/")[0]
    monkeypatch.setenv("DFAD_DATABASE_URL", postgres)
    monkeypatch.setenv("DFAD_BROKER_URL", redis)
    get_settings.cache_clear()
    jobs = begun(stored_jobs, workers)
    plain = make_url(postgres).set(drivername="postgresql").render_as_string(hide_password=False)
    dump = tmp_path / "dfad.dump"
    documented("pg_dump --username dfad --format=custom dfad > dfad.dump")
    with dump.open("wb") as file:
        subprocess.run(["pg_dump", "--format=custom", plain], stdout=file, check=True, timeout=60)
    workers.close()
    name = "restored_" + make_url(postgres).database
    target = make_url(f"{server}/{name}").set(drivername="postgresql")
    documented("createdb --username dfad dfad")
    login = ["--username", "dfad", "--host", str(target.host), "--port", str(target.port)]
    subprocess.run(["createdb", *login, name], check=True, timeout=60)
    url = f"{server}/{name}"
    documented("pg_restore --username dfad --dbname dfad --exit-on-error --single-transaction < dfad.dump")
    restore = ["pg_restore", *login, "--dbname", name, "--exit-on-error", "--single-transaction"]
    with dump.open("rb") as file:
        subprocess.run(restore, stdin=file, check=True, timeout=60)
    subprocess.run(["redis-cli", "-u", redis, "FLUSHALL"], check=True, capture_output=True, timeout=20)
    monkeypatch.setenv("DFAD_DATABASE_URL", url)
    try:
        finishes(stored_jobs, workers, jobs)
    finally:
        workers.close()
        dispose_engine()
        documented("dropdb --username dfad --force dfad")
        subprocess.run(["dropdb", *login, "--force", name], check=True, timeout=60)
