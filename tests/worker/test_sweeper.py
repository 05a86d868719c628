"""What killed processes left behind goes; what is in use stays."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import func, select, update

from app.access.audit.service import record
from app.access.keys.principal import OPERATOR
from app.jobs import lifecycle
from app.leases.files import store
from app.leases.records import publish_file
from app.models import ArtifactChunk, AuditEvent, BlobRemoval, Teacher, WorkerBeat
from app.platform.db import database_now, read_scope, session_scope, shrink
from app.platform.ids import first_id
from app.storage import database as database_store
from app.storage import get_store
from app.teachers.service import drop_teacher, remove_teacher
from dfad_core.contract.job_result import JobError, JobResult
from dfad_core.contract.serialization import from_json
from worker import sweeper


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
        publish_file(claim, store("checkpoint", "checkpoint", 1, b"state"))
        with session_scope() as session:
            if end == "succeeded":
                lifecycle.succeed(session, claim, from_json(JobResult, {}))
            elif end == "failed":
                lifecycle.fail(session, claim, JobError("worker_lost", "gone"))
    sweeper.sweep()
    assert [end for end, job_id in ids.items() if stored_jobs.artifacts(job_id)] == ["failed", None]


def left():
    """Chunks in the store, and files that are still to be deleted."""
    with read_scope() as session:
        tables = (ArtifactChunk, BlobRemoval)
        return tuple(session.scalar(select(func.count()).select_from(table)) for table in tables)


def test_bytes_of_a_process_killed_between_commit_and_deletion_go(each_database, stored_jobs):
    teacher_id = stored_jobs.teacher()
    with session_scope() as session:
        drop_teacher(session, session.get_one(Teacher, teacher_id))
    assert left() == (1, 1)  # killed here
    assert sweeper.sweep_removals() == 1
    assert left() == (0, 0)


def test_bytes_that_another_row_names_stay(each_database, stored_jobs):
    teacher_id = stored_jobs.teacher()
    with session_scope() as session:
        artifact_id = session.get_one(Teacher, teacher_id).artifact_id
        session.add(BlobRemoval(id="rem_1", blob_id=artifact_id, due_at=database_now(session)))
    assert sweeper.sweep_removals() == 0
    assert left() == (1, 0)


def test_a_large_file_is_left_to_the_sweeper_and_deleted_in_small_transactions(
    each_database, stored_jobs, monkeypatch
):
    chunks = 40
    teacher_id = stored_jobs.teacher(b"x" * (chunks * 2**20 - 1))
    sizes = []
    real = database_store._delete_some

    def noted(artifact_id):
        before = left()[0]
        done = real(artifact_id)
        sizes.append(before - left()[0])
        return done

    monkeypatch.setattr(database_store, "_delete_some", noted)
    remove_teacher(teacher_id, "local")
    remaining, owed = left()
    assert 0 < remaining < chunks
    assert owed == 1
    assert sweeper.sweep_removals() == 1
    assert left() == (0, 0)
    assert max(sizes) <= database_store.DELETED_AT_ONCE


def test_a_removal_is_one_workers_until_its_claim_is_over(each_database, stored_jobs):
    with session_scope() as session:
        session.add(BlobRemoval(id="rem_1", blob_id="art_1", due_at=database_now(session)))
    assert sweeper._claim_removal() == ("rem_1", "art_1")
    assert sweeper._claim_removal() is None


def test_the_file_of_sqlite_shrinks(database, stored_jobs):
    path = Path(database.partition("///")[2])
    teacher_id = stored_jobs.teacher(b"x" * 60 * 2**20)
    shrink()
    assert path.stat().st_size > 60 * 2**20
    remove_teacher(teacher_id, "local")
    sweeper.sweep()
    assert left() == (0, 0)
    assert path.stat().st_size < 25 * 2**20
    log = path.with_name(path.name + "-wal")
    assert not log.exists() or log.stat().st_size == 0


def test_the_audit_is_cut_a_part_at_a_time(each_database, monkeypatch):
    monkeypatch.setattr(sweeper, "LINES_AT_ONCE", 10)
    now = datetime.now(UTC)
    about = {"tenant_id": "local", "action": "POST /jobs", "status": 201, "request_id": "req_1"}
    with session_scope() as session:
        for days in range(390, 425):
            made = now - timedelta(days=days, minutes=1)
            session.add(AuditEvent(id=first_id("aud", made) + "0" * 20, created_at=made, **about))
    record(OPERATOR, "POST /jobs", 201, "req_2", None)
    sweeper.sweep()
    with read_scope() as session:
        kept = list(session.scalars(select(AuditEvent.created_at)))
    assert len(kept) == 11  # those of 390 to 399 days, and of now
    assert min(kept) > now - timedelta(days=400)
