"""What killed processes left behind goes; what is in use stays."""

import os
import time
from datetime import timedelta

from sqlalchemy import select, update

from app.config import get_settings
from app.db import database_now, read_scope, session_scope
from app.jobs import lifecycle
from app.models import ArtifactChunk, WorkerBeat
from app.storage import get_store
from dfad_core.contract.job_result import JobError, JobResult
from dfad_core.contract.serialization import from_json
from worker import sweeper
from worker.protocol import Message
from worker.publish import publish_now


def test_old_orphans_go_and_owned_or_young_bytes_stay(each_database, stored_jobs):
    stored_jobs.teacher()
    for name in ("art_old", "art_young"):
        get_store().put(name, [b"x" * 2**20, b"y"])
    with session_scope() as session:
        past = database_now(session) - timedelta(hours=25)
        old = ArtifactChunk.artifact_id != "art_young"
        session.execute(update(ArtifactChunk).where(old).values(created_at=past))
    assert sweeper.sweep_orphans() == ["art_old"]
    with read_scope() as session:
        left = set(session.scalars(select(ArtifactChunk.artifact_id)))
    assert "art_old" not in left
    assert len(left) == 2


def test_scratch_of_the_dead_goes(database, stored_jobs):
    running, ended = stored_jobs.submit(), stored_jobs.submit()
    with session_scope() as session:
        assert lifecycle.claim(session, running, "w1")
    names = [f"{running}-a", f"{ended}-a", f"{ended}-young"]
    for name in names:
        folder = get_settings().scratch_folder / name
        folder.mkdir(parents=True)
        (folder / "teacher.bin").write_bytes(b"x")
    long_ago = time.time() - 2 * sweeper.SCRATCH_SECONDS
    for name in names[:2]:
        os.utime(get_settings().scratch_folder / name, (long_ago, long_ago))
    assert sweeper.sweep_scratch() == [names[1]]
    assert sorted(f.name for f in get_settings().scratch_folder.iterdir()) == sorted([names[0], names[2]])


def test_a_sweep_of_nothing(database):
    sweeper.sweep()


def test_silent_workers_are_forgotten(database):
    with session_scope() as session:
        now = database_now(session)
        session.add(WorkerBeat(id="alive", seen_at=now, details={}))
        session.add(WorkerBeat(id="dead", seen_at=now - timedelta(hours=25), details={}))
    sweeper.sweep()
    with read_scope() as session:
        assert list(session.scalars(select(WorkerBeat.id))) == ["alive"]


def test_checkpoints_of_jobs_that_succeeded_go(database, stored_jobs):
    ids = {}
    for end in ("succeeded", "failed", None):
        ids[end] = stored_jobs.submit()
        with session_scope() as session:
            claim = lifecycle.claim(session, ids[end], "w1")
        publish_now(claim, Message("checkpoint", {"step": 1}, b"state"), "checkpoint")
        with session_scope() as session:
            if end == "succeeded":
                lifecycle.succeed(session, claim, from_json(JobResult, {}))
            elif end == "failed":
                lifecycle.fail(session, claim, JobError("worker_lost", "gone"))
    sweeper.sweep()
    assert [end for end, job_id in ids.items() if stored_jobs.artifacts(job_id)] == ["failed", None]
