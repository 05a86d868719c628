"""The application in this process over an empty database, without worker or broker."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

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

    def post(spec: Any = None, teacher: bytes = b"weights", name: str = "t.pt", **options: Any) -> Any:
        body = spec if isinstance(spec, str | bytes) else json.dumps(SPEC | (spec or {}))
        files = {"teacher": (name, teacher), "spec": (None, body, "application/json")}
        return client.post("/jobs", files=files, **options)

    return post


@pytest.fixture
def stored() -> Callable[[], dict[str, int]]:
    """Rows of every table: what a request left behind."""
    from sqlalchemy import func, select

    from app.db import Base, read_scope

    def count() -> dict[str, int]:
        with read_scope() as session:
            tables = Base.metadata.sorted_tables
            found = {t.name: session.scalar(select(func.count()).select_from(t)) or 0 for t in tables}
        return {name: rows for name, rows in found.items() if rows}

    return count
