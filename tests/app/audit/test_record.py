"""Nothing that a caller sends keeps its request out of the audit."""

from __future__ import annotations

from sqlalchemy import select

from app.audit.service import MAX_ACTION_CHARACTERS, MAX_ADDRESS_CHARACTERS, record
from app.keys.principal import OPERATOR


def test_lines_that_a_database_would_refuse_are_kept(each_database: str) -> None:
    from app.db import read_scope
    from app.models import AuditEvent

    record(OPERATOR, "POST /jobs/\0" + "x" * 500, 404, "req_1", "9" * 500)
    record(OPERATOR, "POST /jobs", 201, "req_2", None)
    with read_scope() as session:
        first, second = session.scalars(select(AuditEvent).order_by(AuditEvent.id))
    assert first.action.startswith("POST /jobs/\N{REPLACEMENT CHARACTER}x")
    assert (len(first.action), len(first.address or "")) == (MAX_ACTION_CHARACTERS, MAX_ADDRESS_CHARACTERS)
    assert (second.action, second.address) == ("POST /jobs", None)
