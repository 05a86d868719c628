"""Jobs in the database, without any HTTP."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from app.jobs import lifecycle
from app.models import Job, JobEvent, Teacher
from app.platform.db import database_now, read_scope, session_scope
from app.platform.ids import new_id


class Jobs:
    """Makes jobs and looks at them."""

    tenant = "local"

    def submit(self, **values: object) -> str:
        """A queued job; its id."""
        with session_scope() as session:
            now = database_now(session)
            teacher = Teacher(
                id=new_id("tch"),
                tenant_id=self.tenant,
                artifact_id=new_id("art"),
                filename="t",
                status="inspecting",
                spec={},
                created_at=now,
            )
            session.add(teacher)
            session.flush()
            given = {"tenant_id": self.tenant, "teacher_id": teacher.id, "spec": {}, "resolved_spec": {}}
            job = Job(id=new_id("job"), **{**given, "labels": {}, **values})
            lifecycle.submit(session, job)
            return job.id

    def claim(self, job_id: str, owner: str = "w1") -> lifecycle.Claim | None:
        """Claim in a transaction of its own."""
        with session_scope() as session:
            return lifecycle.claim(session, job_id, owner)

    def run(self, owner: str = "w1") -> lifecycle.Claim:
        """A running job."""
        taken = self.claim(self.submit(), owner)
        assert taken is not None
        return taken

    def do(self, move: Callable[..., object], *args: object, **options: object) -> object:
        """Call a move of the lifecycle in a transaction of its own."""
        with session_scope() as session:
            return move(session, *args, **options)

    def row(self, job_id: str) -> Job:
        """As it is in the database now."""
        with read_scope() as session:
            return session.get_one(Job, job_id)

    def events(self, job_id: str) -> list[str]:
        """Types of its events in order; checks that their numbers have no gap."""
        with read_scope() as session:
            query = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
            events = list(session.scalars(query))
        assert [e.seq for e in events] == list(range(1, len(events) + 1))
        return [e.type for e in events]

    def lapse(self, job_id: str) -> None:
        """Make its lease, or its back-off, a thing of the past."""
        self._make_past(job_id, "run_after", "lease_expires_at")

    def lapse_back_off(self, job_id: str) -> None:
        """Make its back-off a thing of the past."""
        self._make_past(job_id, "run_after")

    def _make_past(self, job_id: str, *columns: str) -> None:
        with session_scope() as session:
            past = database_now(session) - timedelta(seconds=1)
            session.execute(
                update(Job)
                .where(Job.id == job_id)
                .values(dict.fromkeys(columns, past))
                .execution_options(synchronize_session=False)
            )


@pytest.fixture
def jobs(each_database: str) -> Jobs:
    """On SQLite and on PostgreSQL."""
    return Jobs()
