"""A large export of the audit from a real server: whole, or noticeably not."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import httpx
import pytest

from testing.running_service import end, start

OPERATOR = {"Authorization": "Bearer the-operators-key"}
LINES = 20_000


def test_a_key_that_is_revoked_meanwhile_breaks_it_off(tmp_path: Path) -> None:
    url, processes = start(tmp_path, "app", DFAD_API_KEY="the-operators-key")
    try:
        asked = {"name": "k", "tenant_id": "vision", "scopes": ["admin"]}
        key = httpx.post(f"{url}/keys", json=asked, headers=OPERATOR).raise_for_status().json()
        fill(tmp_path / "dfad.sqlite3")
        vision = {"Authorization": f"Bearer {key['key']}"}
        whole = httpx.get(f"{url}/audit/export", headers=vision, timeout=60)
        assert whole.text.count("\n") == LINES
        with httpx.stream("GET", f"{url}/audit/export", headers=vision, timeout=60) as answer:
            pieces = answer.iter_raw()
            next(pieces)
            httpx.delete(f"{url}/keys/{key['id']}", headers=OPERATOR).raise_for_status()
            with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
                list(pieces)
        assert httpx.get(f"{url}/healthz").status_code == 200
    finally:
        end(processes)


def fill(database: Path) -> None:
    """Lines that are more than lies in the buffers of a connection."""
    row = "INSERT INTO audit_events (id, tenant_id, action, status, request_id, created_at) VALUES "
    row += "(?, 'vision', ?, 200, 'r', '2026-01-01 00:00:00.000000')"
    connection = sqlite3.connect(database)
    with connection:
        connection.executemany(row, [(f"aud_{n:032x}", "POST /" + "x" * 190) for n in range(LINES)])
    connection.close()
