"""Migrations: what they make is what the models say, also when several start at once."""

import subprocess
import sys

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect, select, text

import app.models  # noqa: F401  (registers the tables)
from app.jobs import lifecycle
from app.migrate import downgrade, upgrade
from app.models import Artifact, AuditEvent, Job, JobEvent, Teacher
from app.platform.db import Base, get_engine, read_scope, session_scope
from app.storage import get_store
from dfad_core.contract.job_result import JobResult
from dfad_core.contract.serialization import from_json


def test_migrated_tables_are_the_models(each_database):
    with get_engine().connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []


def test_doing_it_again_changes_nothing(each_database):
    upgrade()
    assert set(inspect(get_engine()).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_several_at_once_on_a_new_file(home):
    starting = [
        subprocess.Popen([sys.executable, "-m", "app.migrate"], stderr=subprocess.PIPE) for _ in range(4)
    ]
    ends = [(p.communicate(timeout=60)[1].decode()[-2000:], p.returncode) for p in starting]
    assert [code for _, code in ends] == [0] * 4, ends
    assert set(inspect(get_engine()).get_table_names()) == {*Base.metadata.tables, "alembic_version"}


def test_back_and_forward_with_rows(each_database, stored_jobs):
    """Every revision is taken back and applied again over jobs in all states, and nothing of them is lost."""
    first, second = stored_jobs.teacher(b"PK\x03\x04weights"), stored_jobs.teacher(b"PK\x03\x04weights")
    other = stored_jobs.teacher(b"other weights")
    queued, running, paused, over = (stored_jobs.submit(t) for t in (first, second, other, other))
    with session_scope() as session:
        claim = lifecycle.claim(session, running, "w")
        lifecycle.request_pause(session, paused, "local")
        ended = lifecycle.claim(session, over, "w")
        assert lifecycle.succeed(session, ended, from_json(JobResult, {"compression": 4.0}))
        # The one that brought the bytes is gone; another still shares them.
        artifact_id = session.get_one(Teacher, first).artifact_id
        session.delete(session.get_one(Artifact, artifact_id))
    before = rows(JobEvent, "job_id", "seq", "type"), rows(Job, "id", "teacher_id", "status", "attempt")
    for revision in (
        "0015",
        "0014",
        "0013",
        "0012",
        "0011",
        "0010",
        "0007",
        "0006",
        "0005",
        "0004",
        "0003",
        "0002",
        "0001",
    ):
        downgrade(revision)
        with get_engine().connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM jobs")) == 4
        upgrade()
        assert before == (
            rows(JobEvent, "job_id", "seq", "type"),
            rows(Job, "id", "teacher_id", "status", "attempt"),
        )
        with read_scope() as session:
            for teacher_id, data in ((second, b"PK\x03\x04weights"), (other, b"other weights")):
                artifact = session.get_one(Artifact, session.get_one(Teacher, teacher_id).artifact_id)
                assert b"".join(get_store().read(artifact.blob_id, 0, artifact.bytes)) == data
    with session_scope() as session:  # and life goes on
        assert lifecycle.succeed(session, claim, from_json(JobResult, {}))
        assert lifecycle.claim(session, queued, "w")
    downgrade("base")
    assert set(inspect(get_engine()).get_table_names()) == {"alembic_version"}
    upgrade()


def test_sign_ins_that_failed_were_nobodys(each_database):
    """Earlier versions filed them, as all that came without a tenant's key, under the operator's tenant."""
    downgrade("0012")
    rows_before = [
        ("a", "local", None, "POST /ui/sign-in", 401),
        ("b", "local", None, "POST /ui/sign-in", 303),
        ("c", "vision", "key_1", "POST /jobs", 201),
        ("d", "local", None, "POST /keys", 409),
    ]
    insert = (
        "INSERT INTO audit_events (id, tenant_id, key_id, action, status, request_id, created_at) "
        "VALUES (:id, :tenant, :key, :action, :status, 'r', '2026-01-01')"
    )
    names = ("id", "tenant", "key", "action", "status")
    with get_engine().begin() as connection:
        connection.execute(text(insert), [dict(zip(names, row, strict=True)) for row in rows_before])
    upgrade()
    assert rows(AuditEvent, "id", "tenant_id", "operator") == [
        ("a", None, False),
        ("b", "local", True),
        ("c", "vision", False),
        ("d", "local", True),
    ]
    downgrade("0012")
    with get_engine().connect() as connection:
        kept = connection.execute(text("SELECT id, tenant_id, key_id, action, status FROM audit_events"))
        assert sorted(tuple(row) for row in kept) == rows_before
    upgrade()


def test_the_command_line_goes_back_and_forward(each_database):
    for options, tables in ((["--down-to", "base"], set()), ([], set(Base.metadata.tables))):
        command = [sys.executable, "-m", "app.migrate", *options]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, ran.stderr
        assert set(inspect(get_engine()).get_table_names()) == {*tables, "alembic_version"}


def rows(model, *names):
    """These columns of all rows, in order."""
    columns = [getattr(model, name) for name in names]
    with read_scope() as session:
        return [tuple(row) for row in session.execute(select(*columns).order_by(*columns))]
