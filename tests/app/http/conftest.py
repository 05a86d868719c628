"""The application in this process over an empty database, without worker or broker."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from starlette.testclient import TestClient

from dfad_core.contract.job_result import JobResult
from dfad_core.contract.serialization import from_json

SPEC: dict[str, Any] = {"student": {"architecture": "mlp8"}, "budget": {"steps": 5}}
Submit = Callable[..., Any]


@pytest.fixture
def client(database: str) -> Iterator[TestClient]:
    """A client of the service."""
    from app.main import create_app

    with TestClient(create_app(), raise_server_exceptions=False) as test_client:
        yield test_client


@pytest.fixture
def submit(client: TestClient) -> Submit:
    """POST /jobs with a teacher file and a spec; both can be replaced."""

    def post(
        spec: Any = None, teacher: bytes = b"PK\x03\x04weights", name: str = "t.pt", **options: Any
    ) -> Any:
        body = spec if isinstance(spec, str | bytes) else json.dumps(SPEC | (spec or {}))
        files = {"teacher": (name, teacher), "spec": (None, body, "application/json")}
        return client.post("/jobs", files=files, **options)

    return post


@pytest.fixture
def finished() -> Callable[..., Any]:
    """Brings a queued job to its end, with a student."""

    def finish(
        job_id: str, student: bytes = b"student bytes", partial: bool = False, kind: str = "student",
        result: Mapping[str, Any] = {"compression": 4.0},
    ) -> None:  # fmt: skip
        from app.jobs import lifecycle
        from app.models import Artifact
        from app.platform.db import database_now, session_scope
        from app.platform.ids import new_id
        from app.storage import get_store

        artifact_id = new_id("art")
        stored = get_store().put(artifact_id, [student])
        with session_scope() as session:
            held = lifecycle.claim(session, job_id, "a-worker")
            assert held is not None
            now = database_now(session)
            if partial:
                lifecycle.request_cancel(session, job_id, held.tenant_id)
                assert lifecycle.cancelled(session, held, from_json(JobResult, result))
            else:
                assert lifecycle.succeed(session, held, from_json(JobResult, result))
            session.add(Artifact(
                id=artifact_id, tenant_id=held.tenant_id, job_id=job_id, kind=kind, partial=partial,
                filename="student.safetensors", media_type="application/octet-stream", bytes=stored.bytes,
                sha256=stored.sha256, created_at=now, published_at=now,
            ))  # fmt: skip

    return finish


ALWAYS_THERE = {"audit_events", "counters", "monthly_usage", "steady_clock"}


@pytest.fixture
def stored() -> Callable[[], dict[str, int]]:
    """Rows of every table but ALWAYS_THERE: what a request left behind."""
    from sqlalchemy import func, select

    from app.platform.db import Base, read_scope

    def count() -> dict[str, int]:
        with read_scope() as session:
            tables = Base.metadata.sorted_tables
            found = {t.name: session.scalar(select(func.count()).select_from(t)) or 0 for t in tables}
        return {name: rows for name, rows in found.items() if rows and name not in ALWAYS_THERE}

    return count
