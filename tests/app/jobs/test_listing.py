"""How much the database reads for a page of jobs, on SQLite and on PostgreSQL."""

import json

import pytest
from sqlalchemy import event, insert, select, text, update

from app.access.keys.tenants import tenant_names
from app.http.pagination import page
from app.jobs.views import job_views
from app.models import Artifact, Job, Teacher
from app.models.job_states import Status
from app.models.tenancy import ALL_TENANTS, acting_for, owned_by
from app.platform.db import database_now, get_engine, read_scope, session_scope

JOBS, KINDS = 2000, ("student", "report", "manifest", "samples")
PAGE = 20


def fill(jobs):
    """Ended jobs of one tenant with their artifacts."""
    first = jobs.row(jobs.submit())
    names = [column.key for column in Job.__mapper__.column_attrs]
    row = {name: getattr(first, name) for name in names} | {"status": Status.SUCCEEDED}
    with session_scope() as session:
        now = database_now(session)
        ids = [f"job_{n:032x}" for n in range(JOBS)]
        session.execute(insert(Job), [row | {"id": job_id} for job_id in ids])
        about = {"tenant_id": jobs.tenant, "filename": "f", "bytes": 1, "sha256": "0" * 64, "details": {}}
        about |= {"created_at": now, "published_at": now, "partial": False, "media_type": "x"}
        rows = []
        for number, (job_id, kind) in enumerate((j, k) for j in ids for k in KINDS):
            artifact_id = f"art_{number:032x}"
            rows.append(about | {"id": artifact_id, "blob_id": artifact_id, "job_id": job_id, "kind": kind})
        session.execute(insert(Artifact), rows)


def plan(connection, statement, parameters):
    """What the database says that it does; of PostgreSQL with how many rows that were."""
    if connection.dialect.name == "sqlite":
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)]
    query = f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}"
    found = connection.exec_driver_sql(query, parameters).scalar()
    return found if isinstance(found, list) else json.loads(found)


def rows_visited(node):
    """Of a plan of PostgreSQL and all below it."""
    here = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return here + sum(rows_visited(child) for child in node.get("Plans", ()))


def test_a_page_reads_the_artifacts_of_its_own_jobs_alone(jobs):
    fill(jobs)
    asked = []

    def note(_connection, _cursor, statement, parameters, *_):
        if statement.startswith("SELECT") and "FROM artifacts" in statement:
            asked.append((statement, parameters))

    query = select(Job, Teacher).join(Teacher, Teacher.id == Job.teacher_id)
    query = query.where(Job.status == Status.SUCCEEDED).order_by(Job.id.desc()).limit(PAGE)
    event.listen(get_engine(), "before_cursor_execute", note)
    with acting_for(jobs.tenant), read_scope() as session:
        views = job_views(session, [(job, teacher) for job, teacher in session.execute(query)])
    assert [len(view.artifacts) for view in views] == [len(KINDS) - 1] * PAGE
    ((statement, parameters),) = asked
    with get_engine().connect() as connection:
        if connection.dialect.name == "sqlite":
            steps = plan(connection, statement, parameters)
            assert any("ix_artifacts_job_id_tenant_id_kind (job_id=? AND tenant_id=?)" in s for s in steps)
            return
        connection.execute(text("ANALYZE"))
        (found,) = plan(connection, statement, parameters)
        assert rows_visited(found["Plan"]) <= 4 * PAGE * len(KINDS)


@pytest.mark.parametrize("status", [None, Status.SUCCEEDED, Status.FAILED])
def test_a_page_of_all_tenants_reads_its_own_rows_alone(jobs, status):
    """Also of those in one state, of which there may be few or none."""
    fill(jobs)
    with session_scope() as session:
        some = select(Job.id).order_by(Job.id).limit(30)
        session.execute(update(Job).where(Job.id.in_(some)).values(status=Status.FAILED))
        session.execute(update(Job).where(Job.id.in_(some.limit(10))).values(tenant_id="another"))
    asked = []

    def note(_connection, _cursor, statement, parameters, *_):
        asked.append((statement, parameters))

    query = select(Job, Teacher).join(Teacher, Teacher.id == Job.teacher_id)
    query = query.where(owned_by(Job, ALL_TENANTS))
    if status is not None:
        query = query.where(Job.status == status)
    event.listen(get_engine(), "before_cursor_execute", note)
    with acting_for(ALL_TENANTS), read_scope() as session:
        rows, _ = page(session, query, Job.id, prefix="job", after=None, limit=PAGE)
    event.remove(get_engine(), "before_cursor_execute", note)
    assert len(rows) == PAGE
    statement, parameters = asked[-1]
    with get_engine().connect() as connection:
        if connection.dialect.name == "sqlite":
            steps = plan(connection, statement, parameters)
            assert not any("TEMP B-TREE" in step for step in steps), steps
            assert status is None or any("ix_jobs_status_id (status=?)" in step for step in steps), steps
            return
        connection.execute(text("ANALYZE"))
        (found,) = plan(connection, statement, parameters)
        assert rows_visited(found["Plan"]) <= 8 * PAGE


def test_tenants_are_found_with_a_look_for_each(jobs):
    fill(jobs)
    with session_scope() as session:
        first = select(Job.id).order_by(Job.id).limit(1)
        session.execute(update(Job).where(Job.id.in_(first)).values(tenant_id="another"))
    asked = []

    def note(_connection, _cursor, statement, parameters, *_):
        asked.append((statement, parameters))

    event.listen(get_engine(), "before_cursor_execute", note)
    with acting_for("local"), read_scope() as session:
        assert tenant_names(session) == sorted({"another", jobs.tenant, "local"})
    event.remove(get_engine(), "before_cursor_execute", note)
    statement, parameters = asked[-1]
    with get_engine().connect() as connection:
        if connection.dialect.name == "sqlite":
            steps = plan(connection, statement, parameters)
            assert not any("SCAN jobs" in step and "INDEX" not in step for step in steps), steps
            return
        connection.execute(text("ANALYZE"))
        (found,) = plan(connection, statement, parameters)
        assert rows_visited(found["Plan"]) <= 50
