"""Bytes into another store while the service reads, writes and deletes; and after any kill it goes on."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from datetime import timedelta

import pytest
from sqlalchemy import delete, select, update

from app.files.artifacts.blobs import forget, read, remove_artifacts, same_bytes
from app.models import Artifact, ArtifactChunk, BlobRemoval, StoreMove, Teacher, Upload, UploadPart
from app.models.artifact import store_of_new_bytes
from app.platform.db import database_now, read_scope, session_scope
from app.platform.ids import new_id
from app.platform.settings import get_settings
from app.storage import StoreAway, get_store, move
from app.storage.__main__ import main
from app.storage.database import CHUNK_BYTES
from worker.sweeper import sweep_orphans, sweep_removals

LARGE = 3 * CHUNK_BYTES + 5


def choose(monkeypatch, store):
    """From now on new bytes go there."""
    monkeypatch.setenv("DFAD_ARTIFACT_STORE", store)
    get_settings.cache_clear()
    get_store.cache_clear()


def command(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["app.storage", "move", *words])
    return main()


def named():
    """Every row that names bytes."""
    with read_scope() as session:
        return [*session.scalars(select(Artifact)), *session.scalars(select(UploadPart))]


def check_all():
    """What every row names is what was stored."""
    rows = named()
    for row in rows:
        assert hashlib.sha256(b"".join(read(row, 0, row.bytes))).hexdigest() == row.sha256
    return rows


def kept(name):
    return {blob for blob, _ in get_store(name).kept()}


def part_of_an_upload(data):
    """One that has arrived."""
    upload_id, blob_id = new_id("upl"), new_id("art")
    stored = get_store().put(blob_id, [data])
    with session_scope() as session:
        now = database_now(session)
        about = {"tenant_id": "local", "sha256": stored.sha256, "bytes": stored.bytes}
        times = {"created_at": now, "expires_at": now + timedelta(days=1)}
        session.add(Upload(id=upload_id, filename="t", part_bytes=stored.bytes, **about, **times))
        session.flush()
        session.add(UploadPart(upload_id=upload_id, number=1, blob_id=blob_id, **about))


STEPS = [("database", "s3"), ("s3", "filesystem"), ("filesystem", "database")]


@pytest.mark.parametrize(("source", "target"), STEPS)
def test_everything_is_moved(database, bucket, monkeypatch, capsys, stored_jobs, source, target):
    choose(monkeypatch, source)
    data = random.Random(0).randbytes(LARGE)
    first, second = stored_jobs.teacher(data), stored_jobs.teacher(data)
    stored_jobs.teacher(b"of before")
    part_of_an_upload(b"part")
    sweep_orphans(hours=-1)  # what was stored and then shared
    with session_scope() as session:  # as rows are that are older than the column
        older = hashlib.sha256(b"of before").hexdigest()
        session.execute(update(Artifact).where(Artifact.sha256 == older).values(store=None))
    assert command(monkeypatch, "--to", target) == 2  # new bytes would go on to come elsewhere
    choose(monkeypatch, target)
    assert command(monkeypatch, "--to", target, "--dry-run") == 0
    assert "3.1 MB" in capsys.readouterr().out
    assert len(kept(source)) == 3
    assert command(monkeypatch, "--to", target) == 0
    assert "nothing is left" in capsys.readouterr().out
    rows = check_all()
    assert {row.store for row in rows} == {target}
    assert kept(source) == set()
    assert kept(target) == {row.blob_id for row in rows}
    with read_scope() as session:
        shared = [session.get_one(Artifact, session.get_one(Teacher, t).artifact_id) for t in (first, second)]
        assert shared[0].blob_id == shared[1].blob_id
        assert not session.scalars(select(BlobRemoval)).all()
        assert session.get(StoreMove, 1) is None
    assert command(monkeypatch, "--to", target) == 0
    assert {row.blob_id for row in check_all()} == {row.blob_id for row in rows}


def test_bytes_that_are_there_already_are_only_named(database, bucket, monkeypatch, stored_jobs):
    """Rows of an earlier version, whose one store was this one."""
    choose(monkeypatch, "s3")
    stored_jobs.teacher(b"weights")
    with session_scope() as session:
        session.execute(update(Artifact).values(store=None))
    (before,) = check_all()
    assert command(monkeypatch, "--to", "s3") == 0
    (row,) = check_all()
    assert (row.blob_id, row.store) == (before.blob_id, "s3")


def test_who_reads_meanwhile_reads_on(each_database, bucket, monkeypatch, stored_jobs):
    data = random.Random(1).randbytes(LARGE)
    stored_jobs.teacher(data)
    (row,) = named()
    pieces = read(row, 10, len(data))
    seen = next(pieces)
    choose(monkeypatch, "s3")
    assert command(monkeypatch, "--to", "s3") == 0
    assert kept("database") == set()
    assert seen + b"".join(pieces) == data[10:]


def test_deleted_is_deleted_wherever_it_was(database, bucket, monkeypatch, stored_jobs):
    stored_jobs.teacher(b"old")
    choose(monkeypatch, "s3")
    stored_jobs.teacher(b"new")
    assert {row.store for row in named()} == {"database", "s3"}
    with session_scope() as session:
        session.execute(update(Teacher).values(artifact_id="art_gone"))
        blobs = remove_artifacts(session, Artifact.id.is_not(None))
    assert forget(blobs)
    assert kept("database") == kept("s3") == set()


@pytest.mark.services
def test_who_shares_meanwhile_shares_the_new_bytes(postgres, home, bucket, monkeypatch, stored_jobs):
    """A transaction that adds a row to the old bytes ends before these rows are named anew."""
    monkeypatch.setenv("DFAD_DATABASE_URL", postgres)
    choose(monkeypatch, "database")
    stored_jobs.teacher(b"weights")
    (row,) = named()
    choose(monkeypatch, "s3")
    mover = move.Move("s3", lambda _: None)
    with session_scope() as session:
        shared = same_bytes(session, "local", row.sha256, row.bytes)
        moving = threading.Thread(target=mover.run)
        moving.start()
        moving.join(1)
        about = {"tenant_id": "local", "kind": "teacher", "filename": "t", "sha256": row.sha256}
        session.add(
            Artifact(
                id=new_id("art"), bytes=row.bytes, created_at=row.created_at, **about, **shared._asdict()
            )
        )
    moving.join(30)
    assert {(row.blob_id, row.store) for row in check_all()} == {(check_all()[0].blob_id, "s3")}
    assert len(named()) == 2


def test_damaged_files_stay_and_are_named(database, bucket, monkeypatch, capsys, stored_jobs):
    stored_jobs.teacher(b"broken")
    stored_jobs.teacher(b"whole")
    with session_scope() as session:
        broken = update(ArtifactChunk).where(ArtifactChunk.data == b"broken")
        session.execute(broken.values(data=b"brokem"))
    stored_jobs.teacher(b"lost")
    with session_scope() as session:  # of before the column, so that nothing says where it was
        session.execute(update(Artifact).where(Artifact.bytes == 4).values(store=None))
        session.execute(delete(ArtifactChunk).where(ArtifactChunk.data == b"lost"))
    choose(monkeypatch, "s3")
    assert command(monkeypatch, "--to", "s3") == 1
    broken, lost = sorted((row for row in named() if row.store != "s3"), key=lambda row: -row.bytes)
    told = capsys.readouterr()
    assert broken.blob_id in told.out
    assert lost.blob_id in told.out
    assert "2 damaged or missing files" in told.err
    assert kept("database") == {broken.blob_id}
    assert len(kept("s3")) == 1


def test_one_at_a_time(database, bucket, monkeypatch):
    monkeypatch.setattr(move, "LEASE", timedelta(seconds=1))
    monkeypatch.setattr(move, "LOOK_SECONDS", 0.1)
    choose(monkeypatch, "s3")
    first, over = move.Lease(), threading.Event()
    first.take(print)

    def hold():
        while not over.wait(0.05):
            first.renew()

    holding = threading.Thread(target=hold)
    holding.start()
    assert command(monkeypatch, "--to", "s3") == 3
    over.set()
    holding.join()
    assert command(monkeypatch, "--to", "s3") == 0  # the lease of one that died lapses
    monkeypatch.setattr(move, "LEASE", timedelta(0))
    with pytest.raises(move.Busy):  # and one that comes back to life notices
        first.renew()


def test_a_store_without_an_address_is_no_damage(database, bucket, monkeypatch, stored_jobs):
    choose(monkeypatch, "s3")
    stored_jobs.teacher(b"weights")
    monkeypatch.delenv("DFAD_S3_URL")
    choose(monkeypatch, "database")
    (row,) = named()
    with pytest.raises(StoreAway, match="DFAD_S3_URL"):
        next(read(row, 0, row.bytes))
    assert command(monkeypatch, "--to", "s3") == 2


SCRIPT = """
import sys
from datetime import timedelta
from app.storage import __main__, move
move.LEASE, move.LOOK_SECONDS, move.PROGRESS_SECONDS = timedelta(seconds=1), 0.1, 0.0
sys.exit(__main__.main())
"""


class Service(threading.Thread):
    """Reads, adds and deletes files, as a process does whose new bytes still go to the old store."""

    def __init__(self, stored_jobs):
        super().__init__()
        self._jobs, self.end, self.error, self.rounds = stored_jobs, threading.Event(), None, 0

    def run(self):
        choice = random.Random(2)
        try:
            while not self.end.wait(0.02):
                self.rounds += 1
                if len(named()) < 12:
                    self._jobs.teacher(choice.randbytes(choice.choice([10, CHUNK_BYTES, LARGE])))
                for row in check_rows(choice.sample(named(), 3)):
                    if choice.random() < 0.2:
                        with session_scope() as session:
                            gone = remove_artifacts(session, Artifact.id == row.id)
                        forget(gone)
        except Exception as error:  # noqa: BLE001  (the test shows it)
            self.error = error


def check_rows(rows):
    for row in rows:
        assert hashlib.sha256(b"".join(read(row, 0, row.bytes))).hexdigest() == row.sha256
    return rows


@pytest.mark.parametrize(
    ("each_database", "target"),
    [("sqlite", "filesystem"), pytest.param("postgresql", "s3", marks=pytest.mark.services)],
    indirect=["each_database"],
)
def test_killed_again_and_again(each_database, bucket, monkeypatch, stored_jobs, target):
    """SIGKILL at any moment of a file; nothing is lost, and nothing is left once a run comes to its end."""
    source = store_of_new_bytes()
    for number in range(6):
        stored_jobs.teacher(random.Random(number).randbytes(LARGE))
    environment = {**os.environ, "DFAD_ARTIFACT_STORE": target}
    arguments = [sys.executable, "-c", SCRIPT, "move", "--to", target]
    service = Service(stored_jobs)
    service.start()
    for lines, number, code in (
        (3, signal.SIGKILL, -signal.SIGKILL),
        (12, signal.SIGKILL, -signal.SIGKILL),
        (3, signal.SIGTERM, 130),
    ):
        mover = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True)
        told = [mover.stdout.readline() for _ in range(lines)]
        assert "left" in told[-1]
        mover.send_signal(number)
        assert mover.wait(30) == code, told
        mover.stdout.close()
    service.end.set()
    service.join(30)
    assert service.error is None
    assert service.rounds > 5
    last = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert last.returncode == 0, last.stderr
    rows = check_all()
    assert {row.store for row in rows} == {target}
    with session_scope() as session:  # those of a mover that was killed between the rows and the old bytes
        session.execute(update(BlobRemoval).values(due_at=rows[0].created_at))
    sweep_removals()
    sweep_orphans(hours=-1)
    assert kept(source) == set()
    assert kept(target) == {row.blob_id for row in rows}
