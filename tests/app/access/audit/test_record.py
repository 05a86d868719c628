"""Nothing that a caller sends keeps its request out of the audit.

Nobody without a key writes to it, but for sign-ins that fail, which are bounded.
"""

from __future__ import annotations

from sqlalchemy import select
from starlette.testclient import TestClient

from app.access.audit.service import MAX_ACTION_CHARACTERS, MAX_ADDRESS_CHARACTERS, record
from app.access.keys.principal import OPERATOR


def test_lines_that_a_database_would_refuse_are_kept(each_database: str) -> None:
    from app.models import AuditEvent
    from app.platform.db import read_scope

    record(OPERATOR, "POST /jobs/\0" + "x" * 500, 404, "req_1", "9" * 500)
    record(OPERATOR, "POST /jobs", 201, "req_2", None)
    with read_scope() as session:
        first, second = session.scalars(select(AuditEvent).order_by(AuditEvent.id))
    assert first.action.startswith("POST /jobs/\N{REPLACEMENT CHARACTER}x")
    assert (len(first.action), len(first.address or "")) == (MAX_ACTION_CHARACTERS, MAX_ADDRESS_CHARACTERS)
    assert (second.action, second.address) == ("POST /jobs", None)


def test_who_has_no_key_leaves_failed_sign_ins_alone(each_database: str) -> None:
    from app.main import create_app
    from app.models import AuditEvent
    from app.platform.db import read_scope

    with TestClient(create_app()) as client:
        client.post("/static/x")
        client.delete("/healthz")
        client.put("/readyz")
        client.post("/ui/sign-in", data={"key": "no-key"})
        made = client.post("/keys", json={"name": "k", "scopes": ["admin"]}).json()
        client.post("/jobs", json={})  # from here on a key is needed
        client.post("/ui/sign-in", data={"key": "no-key"})
        client.post("/ui/sign-in", data={"key": made["key"]}, follow_redirects=False)
    with read_scope() as session:
        rows = session.scalars(select(AuditEvent).order_by(AuditEvent.id))
        found = [(row.action, row.status, row.key_id, row.tenant_id) for row in rows]
    # A key that opens something is another matter: its owner may want to know who signed in with it.
    signed_in = ("POST /ui/sign-in", 303, made["id"], "local")
    failed = ("POST /ui/sign-in", 401, None, None)
    assert found == [("POST /keys", 201, None, "local"), failed, signed_in]
