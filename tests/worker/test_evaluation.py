"""A training that came to its end is not lost, whatever becomes of its evaluation."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from app.jobs import lifecycle
from app.leases import records
from app.models import Artifact, Job
from app.platform.db import database_now, read_scope, session_scope
from app.storage import get_store
from tests.worker.scripted_runner import KNOWN
from worker import sweeper

KEPT = "Training was finished; its student is kept"


def content(row):
    return b"".join(get_store().read(row.blob_id, 0, row.bytes))


def in_background(attempt, job_id):
    box = []
    thread = threading.Thread(target=lambda: box.append(attempt(job_id)), daemon=True)
    thread.start()

    def ended():
        thread.join(30)
        assert box, "the attempt goes on"
        return box[0]

    return ended


def ask(job_id, what):
    with session_scope() as session:
        getattr(lifecycle, f"request_{what}")(session, job_id, "local")


def act(job_id, name):
    """What the next attempt does."""
    with session_scope() as session:
        job = session.get_one(Job, job_id)
        job.resolved_spec = {**job.resolved_spec, "metadata": {"act": name}}


def stored(job_id):
    """How many artifacts of kind student there are, whether clients see them or not."""
    with read_scope() as session:
        mine = (Artifact.job_id == job_id, Artifact.kind == "student")
        return session.scalar(select(func.count()).select_from(Artifact).where(*mine))


def steps_trained(stored_jobs, job_id):
    events = stored_jobs.events(job_id)
    return [e.data["step"] for e in events if e.type == "progress" and "phase" not in e.data]


@pytest.fixture
def kept(stored_jobs, orphans):
    """Asserts that the job has one student, partial or not, and nothing is left over of any attempt."""

    def check(job_id, *, partial=True):
        (student,) = stored_jobs.artifacts(job_id)["student"]
        assert content(student) == b"a trained student"
        assert (student.partial, student.step, stored(job_id)) == (partial, 10, 1)
        assert student.details == {}
        assert not orphans()
        assert "checkpoint" not in stored_jobs.artifacts(job_id)
        return stored_jobs.row(job_id)

    return check


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("evaluate_and_crash", "runner_crashed"),
        ("evaluate_and_hang", "hung"),
        ("evaluate_and_run_out_of_memory", "out_of_memory"),
    ],
)
def test_an_evaluation_that_dies_every_time_leaves_the_student(
    scripted, attempt, stored_jobs, monkeypatch, kept, name, code
):
    monkeypatch.setenv("DFAD_WATCHDOG_SECONDS", "1")
    job_id = scripted(name)
    assert [attempt(job_id) for _ in range(3)] == ["requeued", "requeued", "failed"]
    row = kept(job_id)
    assert (row.status, row.attempt, row.error["code"]) == ("failed", 3, code)
    assert KEPT in row.error["message"]
    assert row.result == KNOWN
    assert steps_trained(stored_jobs, job_id) == [10], "only the first attempt trains"
    failed = stored_jobs.events(job_id)[-1]
    assert (failed.type, failed.data["error"]) == ("job.failed", row.error)


def test_an_error_of_the_engine_in_evaluation_leaves_the_student(scripted, attempt, kept):
    job_id = scripted("evaluate_and_fail")
    assert attempt(job_id) == "failed"
    row = kept(job_id)
    assert row.error["code"] == "engine_error"
    assert KEPT in row.error["message"]


def test_a_second_attempt_only_evaluates_and_there_is_one_student(scripted, attempt, stored_jobs, kept):
    job_id = scripted("evaluate_and_crash")
    assert attempt(job_id) == "requeued"
    assert stored_jobs.artifacts(job_id).keys() == {"checkpoint"}, "no client sees the student yet"
    act(job_id, "evaluate")
    assert attempt(job_id) == "succeeded"
    row = kept(job_id, partial=False)
    assert (row.result["training"]["seconds"], row.error) == (10, None)
    assert steps_trained(stored_jobs, job_id) == [10]
    assert {k: len(v) for k, v in stored_jobs.artifacts(job_id).items()} == {
        "student": 1, "report": 1, "manifest": 1,
    }  # fmt: skip


def test_attempts_that_die_before_they_evaluate_again_leave_the_student_too(scripted, attempt, kept):
    job_id = scripted("evaluate_and_crash")
    assert attempt(job_id) == "requeued"
    act(job_id, "crash_at_once")
    assert [attempt(job_id) for _ in range(2)] == ["requeued", "failed"]
    assert kept(job_id).result == KNOWN


def test_a_cancel_is_obeyed_in_evaluation_and_keeps_the_student(scripted, attempt, stored_jobs, kept):
    job_id = scripted("evaluate_until_told")
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.phase_progress is not None)
    ask(job_id, "cancel")
    assert ended() == "cancelled"
    row = kept(job_id)
    assert row.result == {**KNOWN, "fidelity": {"agreement_drawn": 0.5}}


def test_a_cancel_of_an_evaluation_that_hangs_keeps_the_student(scripted, attempt, stored_jobs, kept):
    job_id = scripted("evaluate_and_hang")
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.phase_progress is not None)
    ask(job_id, "cancel")
    assert ended() == "cancelled"
    assert kept(job_id).result == KNOWN


@pytest.mark.parametrize("name", ["evaluate_until_told", "evaluate_and_hang"])
def test_a_deadline_in_evaluation_keeps_the_student(scripted, attempt, kept, name):
    job_id = scripted(name, budget={"steps": 10, "max_runtime_seconds": 2})
    assert attempt(job_id) == "failed"
    row = kept(job_id)
    assert row.error["code"] == "deadline_exceeded"
    assert KEPT in row.error["message"]
    assert row.result["student"] == KNOWN["student"]


def test_a_pause_in_evaluation_goes_on_from_the_last_step(scripted, attempt, stored_jobs, kept):
    job_id = scripted("evaluate_until_told")
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.phase_progress is not None)
    ask(job_id, "pause")
    assert ended() == "paused"
    row = stored_jobs.row(job_id)
    assert (row.status, row.phase_progress, row.result) == ("paused", None, None)
    assert set(stored_jobs.artifacts(job_id)) == {"checkpoint"}
    act(job_id, "evaluate")
    ask(job_id, "resume")
    assert attempt(job_id) == "succeeded"
    assert kept(job_id, partial=False).result["training"]["seconds"] == 10


def test_a_paused_job_that_is_cancelled_keeps_its_student(scripted, attempt, stored_jobs):
    job_id = scripted("evaluate_until_told")
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.phase_progress is not None)
    ask(job_id, "pause")
    assert ended() == "paused"
    ask(job_id, "cancel")
    assert stored_jobs.row(job_id).result == KNOWN
    assert [a.partial for a in stored_jobs.artifacts(job_id)["student"]] == [True]
    sweeper.sweep()
    assert set(stored_jobs.artifacts(job_id)) == {"student"}, "checkpoints of a job that has ended are swept"


def test_a_job_whose_worker_is_lost_in_evaluation_keeps_its_student(scripted, stored_jobs, kept, attempt):
    job_id = scripted("evaluate_and_crash")
    assert attempt(job_id) == "requeued"
    with session_scope() as session:
        assert lifecycle.claim(session, job_id, "w2")
        past = database_now(session) - timedelta(seconds=1)
        session.execute(update(Job).where(Job.id == job_id).values(lease_expires_at=past, attempt=3))
    with session_scope() as session:
        assert lifecycle.expire_leases(session) == [job_id]
    sweeper.sweep()
    row = kept(job_id)
    assert (row.status, row.error["code"], row.result) == ("failed", "worker_lost", KNOWN)
    assert KEPT in row.error["message"]


def test_an_attempt_that_lost_its_job_stores_no_student(scripted, attempt, stored_jobs, orphans):
    job_id = scripted("evaluate_until_told")
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.phase == "evaluating")
    with session_scope() as session:
        session.execute(update(Job).where(Job.id == job_id).values(fence=Job.fence + 1, lease_owner="w2"))
    assert ended() == "stale"
    assert stored_jobs.artifacts(job_id).keys() == {"checkpoint"}
    assert stored(job_id) == 1, "that of the attempt when the job was its own"
    assert not orphans()


def test_progress_moves_in_evaluation_and_promises_no_end(scripted, attempt, stored_jobs):
    job_id = scripted("evaluate_until_told")
    ended = in_background(attempt, job_id)
    row = stored_jobs.wait(job_id, lambda row: row.phase_progress is not None)
    assert row.phase_progress == {"done": 512, "total": 4096, "unit": "images"}
    assert (row.percent, row.eta_seconds) == (100.0, 30.0)
    trained, evaluated = [e.data for e in stored_jobs.events(job_id) if e.type == "progress"]
    assert (trained["percent"], trained["eta_seconds"]) == (99.0, 50.0)
    expected = {"step": 10, "total_steps": 10, "percent": 99.0, "eta_seconds": 30.0, "metrics": {}}
    assert evaluated == {**expected, "phase": row.phase_progress}
    ask(job_id, "cancel")
    assert ended() == "cancelled"
    assert stored_jobs.row(job_id).phase_progress is None


def test_whoever_sees_the_success_sees_no_checkpoint(scripted, attempt, stored_jobs, monkeypatch):
    monkeypatch.setattr(records, "drop_checkpoints", lambda *_, **__: None)  # as if that came later
    job_id = scripted("evaluate")
    assert attempt(job_id) == "succeeded"
    assert set(stored_jobs.artifacts(job_id)) == {"student", "report", "manifest"}
