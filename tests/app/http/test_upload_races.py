"""Requests about one upload at the same moment: each gets an answer that holds, and nobody else waits."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.platform import turns
from tests.app.http.test_uploads import DATA, digest

PARTS = [DATA[start : start + 1000] for start in range(0, len(DATA), 1000)]


@pytest.fixture
def client(each_database: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """On SQLite and on PostgreSQL."""
    from app.main import create_app

    monkeypatch.setenv("DFAD_UPLOAD_PART_BYTES", "1000")
    with TestClient(create_app(), raise_server_exceptions=False) as test_client:
        yield test_client


def sent(client: TestClient) -> str:
    """The address of an upload whose parts are all here."""
    asked = {"filename": "t.pt", "bytes": len(DATA), "sha256": hashlib.sha256(DATA).hexdigest()}
    url = f"/uploads/{client.post('/uploads', json=asked).json()['id']}"
    for number, part in enumerate(PARTS, 1):
        assert client.put(f"{url}/parts/{number}", content=part, headers=digest(part)).status_code == 200
    return url


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """What the calls return that begin at the same moment."""
    begin = threading.Barrier(len(calls))

    def call(function: Callable[[], Any]) -> Any:
        begin.wait()
        return function()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(call, calls))


def test_many_complete_one_upload(client: TestClient, stored: Callable[[], dict[str, int]]) -> None:
    url = sent(client)
    answers = at_once(*[lambda: client.post(f"{url}/complete")] * 12)
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["status"] for answer in answers} == {"completed"}
    assert (stored()["artifacts"], stored()["artifact_chunks"]) == (1, 1)
    assert "upload_parts" not in stored()


def test_another_server_process_completes_it(client: TestClient) -> None:
    from app.models import Upload
    from app.platform.db import database_now, session_scope

    url = sent(client)
    with session_scope() as session:
        upload = session.get_one(Upload, url.removeprefix("/uploads/"))
        upload.completing_until = database_now(session) + timedelta(seconds=30)
    put = {"content": PARTS[0], "headers": digest(PARTS[0])}
    for answer in (client.post(f"{url}/complete"), client.put(f"{url}/parts/1", **put)):  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
        assert int(answer.headers["retry-after"]) > 0
    with session_scope() as session:  # that process died
        upload = session.get_one(Upload, url.removeprefix("/uploads/"))
        upload.completing_until = database_now(session)
    assert client.post(f"{url}/complete").json()["status"] == "completed"


def test_two_server_processes_complete_it(client: TestClient) -> None:
    from app.files.uploads import service
    from app.platform.errors import ServiceError

    def complete(upload_id: str) -> str:
        try:
            service.complete(upload_id, "local")
        except ServiceError as error:
            return error.code
        return "completed"

    for _ in range(5):
        url = sent(client)
        found = at_once(*[lambda url=url: complete(url.removeprefix("/uploads/"))] * 2)
        assert "completed" in found
        assert set(found) <= {"completed", "conflict"}


def test_deleted_while_it_is_completed(client: TestClient, stored: Callable[[], dict[str, int]]) -> None:
    for _ in range(8):
        url = sent(client)
        completed, deleted = at_once(
            lambda u=url: client.post(f"{u}/complete"), lambda u=url: client.delete(u)
        )
        assert completed.status_code in (200, 404, 409), completed.text
        assert deleted.status_code == 204
    assert not {"uploads", "upload_parts", "artifacts", "artifact_chunks"} & stored().keys()


def test_a_teacher_of_an_upload_that_is_deleted_has_its_bytes_or_is_refused(client: TestClient) -> None:
    from app.models import Artifact, Teacher
    from app.platform.db import read_scope

    for _ in range(12):
        url = sent(client)
        assert client.post(f"{url}/complete").status_code == 200
        asked = {"upload_id": url.removeprefix("/uploads/")}
        made, deleted = at_once(
            lambda asked=asked: client.post("/teachers", json=asked), lambda url=url: client.delete(url)
        )
        assert deleted.status_code == 204
        if made.status_code != 201:
            assert made.status_code in (404, 409), made.text
            continue
        with read_scope() as session:
            artifact_id = session.get_one(Teacher, made.json()["id"]).artifact_id
            assert session.get_one(Artifact, artifact_id).bytes == len(DATA)
        assert client.get(f"/artifacts/{artifact_id}").content == DATA
        assert client.delete(f"/teachers/{made.json()['id']}").status_code == 204


def test_an_upload_that_is_deleted_before_the_teacher_is_kept(client: TestClient) -> None:
    from app.files.uploads import service
    from app.platform.db import session_scope
    from app.platform.errors import NotFound
    from app.teachers.service import add_teacher

    url = sent(client)
    client.post(f"{url}/complete")
    file = service.completed_teacher(url.removeprefix("/uploads/"), "local")
    assert client.delete(url).status_code == 204
    with pytest.raises(NotFound), session_scope() as session:
        add_teacher(session, tenant_id="local", file=file, spec={})


def test_others_are_served_while_one_tenant_completes(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.files.uploads import service

    over = threading.Event()
    monkeypatch.setattr(service, "complete", lambda *_: over.wait(60))
    monkeypatch.setattr(turns, "WAIT_SECONDS", 1.0)
    url = sent(client)
    with ThreadPoolExecutor(45) as pool:
        completing = [pool.submit(client.post, f"{url}/complete") for _ in range(45)]
        try:
            for path in ("/healthz", "/jobs", url):
                assert client.get(path).status_code == 200
        finally:
            over.set()
        answers = [future.result() for future in completing]
    assert {answer.status_code for answer in answers} <= {200, 409}
