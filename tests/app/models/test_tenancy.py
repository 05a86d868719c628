"""No query sees another tenant's rows, also one that forgot to ask whose they are."""

from functools import partial

import pytest
from sqlalchemy import delete, func, select, update

from app.jobs.events import append_event
from app.models import Artifact, Job, JobEvent, JobMetric, Teacher
from app.models.tenancy import ALL_TENANTS, acting_for, as_system, owned_models
from app.platform.db import Base, database_now, read_scope, session_scope

COMMON = {
    "blob_removals", "artifact_chunks", "counters", "outbox", "page_sessions", "steady_clock", "store_moves",
    "worker_beats",
}  # fmt: skip
"""Tables of the service itself: nothing in them is shown to anybody by a query of its own."""


@pytest.fixture
def theirs(each_database, stored_jobs):
    """A job of the tenant `local` with an event and a point of its series."""
    job_id = stored_jobs.submit()
    with session_scope() as session:
        append_event(session, job_id, "warning", {})
        session.add(JobMetric(job_id=job_id, step=1, seconds=1.0, series={}))
    return job_id


def test_every_table_is_somebodys_or_the_services():
    own, parts = owned_models()
    covered = {model.__tablename__ for model in own + parts}
    assert covered | COMMON == set(Base.metadata.tables)
    assert not covered & COMMON


def test_nothing_can_be_read(theirs):
    with acting_for("another"), read_scope() as session:
        for model in (Job, JobEvent, JobMetric, Teacher):
            assert session.scalars(select(model)).all() == []
            assert session.scalar(select(func.count()).select_from(model)) == 0
        assert session.get(Job, theirs) is None
        assert session.execute(select(Job.id, Teacher.id).join(Teacher)).all() == []
        assert session.scalars(select(JobEvent.seq).where(JobEvent.job_id == theirs)).all() == []
        inner = select(Job.id).subquery()
        assert session.scalar(select(func.count()).select_from(inner)) == 0


def test_nothing_can_be_changed(theirs):
    with acting_for("another"), session_scope() as session:
        assert session.execute(update(Job).values(priority=9)).rowcount == 0
        assert session.execute(delete(JobEvent)).rowcount == 0
        assert session.execute(update(Teacher).values(status="ready")).rowcount == 0
        assert session.execute(delete(Job).where(Job.id == theirs)).rowcount == 0
    with read_scope() as session:
        assert session.get_one(Job, theirs).priority == 0


def test_nothing_can_be_added_for_another(theirs):
    def add():
        with session_scope() as session:
            now = database_now(session)
            session.add(
                Artifact(
                    id="art_x",
                    tenant_id="local",
                    kind="student",
                    filename="s",
                    bytes=1,
                    sha256="",
                    created_at=now,
                )
            )

    with acting_for("another"), pytest.raises(RuntimeError, match="another tenant"):
        add()
    with acting_for("local"):
        add()


def test_who_looks_at_all_tenants_changes_none(theirs):
    refused = partial(pytest.raises, RuntimeError, match="all tenants")
    changes = (update(Job).values(priority=9), delete(JobEvent), delete(Job).where(Job.id == theirs))
    for change in changes:
        with acting_for(ALL_TENANTS), refused(), session_scope() as session:
            session.execute(change)
    for act in (
        lambda session: setattr(session.get_one(Job, theirs), "priority", 9),
        lambda session: session.delete(session.get_one(Job, theirs)),
        lambda session: append_event(session, theirs, "warning", {}),
        lambda session: session.add(JobMetric(job_id=theirs, step=2, seconds=1.0, series={})),
    ):
        with acting_for(ALL_TENANTS), refused(), session_scope() as session:
            act(session)
    with acting_for(ALL_TENANTS), read_scope() as session:
        assert session.get_one(Job, theirs).priority == 0
        assert len(session.scalars(select(JobEvent)).all()) == 2


def test_the_owner_and_the_service_see_it(theirs):
    with acting_for("local"), read_scope() as session:
        assert session.get(Job, theirs) is not None
        assert len(session.scalars(select(JobEvent)).all()) == 2
    with acting_for("another"), as_system(), read_scope() as session:
        assert session.get(Job, theirs) is not None
