"""Claims on inspections: one worker's at a time, and of nobody's who is gone."""

from datetime import timedelta

import pytest
from sqlalchemy import update

from app.models import Teacher
from app.platform.db import database_now, read_scope, session_scope
from app.teachers.inspections import claim_inspection, give_back, renew

pytestmark = pytest.mark.usefixtures("each_database")


def row(teacher_id):
    with read_scope() as session:
        return session.get_one(Teacher, teacher_id)


def change(teacher_id, **values):
    with session_scope() as session:
        session.execute(update(Teacher).where(Teacher.id == teacher_id).values(**values))


def lapse(teacher_id):
    with session_scope() as session:
        past = database_now(session) - timedelta(seconds=1)
        session.execute(update(Teacher).where(Teacher.id == teacher_id).values(inspect_after=past))


def test_each_is_claimed_once_and_the_oldest_first(stored_jobs):
    first, second = stored_jobs.teacher(), stored_jobs.teacher()
    assert [claim_inspection(who).teacher_id for who in ("a", "b")] == [first, second]
    assert claim_inspection("c") is None


def test_a_claim_is_renewed_lapses_and_is_another_s(stored_jobs):
    teacher_id = stored_jobs.teacher()
    old = claim_inspection("a")
    until = row(teacher_id).inspect_after
    assert renew(old)
    assert row(teacher_id).inspect_after >= until
    lapse(teacher_id)
    new = claim_inspection("b")
    assert (new.teacher_id, new.owner) == (teacher_id, "b")
    assert not renew(old)
    give_back(old)  # what is another's stays so
    assert claim_inspection("c") is None
    give_back(new)
    assert claim_inspection("c").teacher_id == teacher_id


@pytest.mark.parametrize("values", [{"status": "ready"}, {"status": "rejected"}])
def test_what_is_inspected_is_claimed_and_held_no_more(stored_jobs, values):
    held = claim_inspection("a") if stored_jobs.teacher() else None
    change(held.teacher_id, **values)
    assert not renew(held)
    lapse(held.teacher_id)
    assert claim_inspection("b") is None


def test_nobody_inspects_what_is_deleted(stored_jobs):
    teacher_id = stored_jobs.teacher()
    with session_scope() as session:
        session.get_one(Teacher, teacher_id).deleted_at = database_now(session)
    assert claim_inspection("a") is None


def test_a_job_s_own_teacher_has_time(each_database, tiny_teacher):
    from starlette.testclient import TestClient

    from app.main import create_app

    with TestClient(create_app()) as client:
        files = {"teacher": ("t", tiny_teacher.read_bytes())}
        spec = {"spec": (None, '{"student": {"architecture": "mlp8"}}')}
        job = client.post("/jobs", files=files | spec).json()
        assert claim_inspection("a") is None
        alone = client.post("/teachers", files=files).json()["id"]
        assert claim_inspection("a").teacher_id == alone
    lapse(job["teacher"]["id"])
    assert claim_inspection("a").teacher_id == job["teacher"]["id"]
