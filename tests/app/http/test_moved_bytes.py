"""Requests while bytes are moved to another store in between: nobody notices, and nothing is left behind."""

import pytest
from sqlalchemy import select

from app.models import Artifact
from app.platform.db import read_scope
from app.storage import get_store
from app.storage.move import Move
from tests.app.http.test_uploads import SHA256, begin, part


def move(store="filesystem"):
    Move(store, print).run()


def kept():
    return {name: {blob for blob, _ in get_store(name).kept()} for name in ("database", "filesystem")}


@pytest.fixture(autouse=True)
def small_parts(database, monkeypatch):
    monkeypatch.setenv("DFAD_UPLOAD_PART_BYTES", "1000")


def test_from_parts_to_a_student(client, finished):
    upload_id = begin(client).json()["id"]
    for number in (1, 2):
        assert part(client, upload_id, number).status_code == 200
        move()
    assert part(client, upload_id, 2).status_code == 200  # again, in the place of one that was moved
    assert part(client, upload_id, 3).status_code == 200
    assert client.post(f"/uploads/{upload_id}/complete").json()["sha256"] == SHA256
    move()
    spec = {"student": {"architecture": "mlp8"}, "upload_id": upload_id}
    first, second = (client.post("/jobs", json=spec).json()["id"] for _ in range(2))
    finished(first)
    with read_scope() as session:
        students = select(Artifact).where(Artifact.job_id == first, Artifact.kind == "student")
        student = session.scalars(students).one()
    before = client.get(f"/artifacts/{student.id}")
    move()
    after = client.get(f"/artifacts/{student.id}")
    assert (after.content, after.headers["etag"]) == (before.content, before.headers["etag"])
    piece = client.get(f"/artifacts/{student.id}", headers={"Range": "bytes=3-6"})
    assert (piece.status_code, piece.content) == (206, before.content[3:7])
    assert kept()["database"] == set()
    assert (
        len(kept()["filesystem"]) == 2
    )  # the teacher's, which both jobs and the upload share, and the student
    move("database")
    assert client.post(f"/jobs/{second}/cancel").status_code == 200
    for path in (f"/jobs/{first}", f"/jobs/{second}", f"/uploads/{upload_id}"):
        assert client.delete(path).status_code == 204
    for teacher in client.get("/teachers").json()["data"]:
        assert client.delete(f"/teachers/{teacher['id']}").status_code == 204
    assert kept() == {"database": set(), "filesystem": set()}
