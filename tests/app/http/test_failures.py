"""What the service answers when a part of it fails, and that nothing is half done then."""

import errno
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from app.storage import StoreAway

Submit = Callable[..., Any]


class DiskFull(Exception):
    """As psycopg says it."""

    sqlstate = "53100"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 507, "storage_full"),
        (OperationalError("INSERT", {}, Exception("database or disk is full")), 507, "storage_full"),
        (OperationalError("INSERT", {}, DiskFull()), 507, "storage_full"),
        (OperationalError("INSERT", {}, Exception("database is locked")), 503, "unavailable"),
        (OSError(errno.EIO, "/secret/path"), 500, "internal_error"),
        (StoreAway("no answer of secret.example"), 503, "store_away"),
    ],
)
@pytest.mark.parametrize(
    "place", ["app.jobs.service.lifecycle.submit", "app.storage.database._ChunkWriter._insert"]
)
def test_failures_of_disk_and_database(
    submit: Submit,
    stored: Callable[[], dict[str, int]],
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    error: Exception,
    status: int,
    code: str,
) -> None:
    def broken(*_: Any) -> None:
        raise error

    monkeypatch.setattr(place, broken)
    answer = submit()
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert "secret" not in answer.text
    assert "INSERT" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)
    assert stored() == {}


@pytest.mark.parametrize("charset", ["idna", "punycode", "undefined", "hex", "rot13", "utf-16", "nonsense"])
def test_odd_charsets_break_nothing(client: TestClient, charset: str) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="teacher"; filename="\xff\xfe"\r\n\r\nx\r\n--b--\r\n'
    headers = {"Content-Type": f"multipart/form-data; boundary=b; charset={charset}"}
    answer = client.post("/jobs", content=body, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_surrogates_in_a_file_name(client: TestClient) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="teacher"; filename="\\\\ud800"\r\n\r\nx\r\n'
        b'--b\r\nContent-Disposition: form-data; name="spec"\r\n\r\n{"student":{"architecture":"mlp8"}}\r\n'
        b"--b--\r\n"
    )
    headers = {"Content-Type": "multipart/form-data; boundary=b; charset=unicode_escape"}
    answer = client.post("/jobs", content=body, headers=headers)
    assert answer.status_code in (201, 400, 422), answer.text


def test_a_database_that_was_never_migrated(home: Any) -> None:
    from app.main import create_app

    home.mkdir()
    with TestClient(create_app(), raise_server_exceptions=False) as client:
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").json()["checks"]["database"] != "ok"
        answer = client.get("/jobs")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
