"""Whatever a runner does, its attempt ends in exactly one way and leaves nothing half done."""

import threading
from datetime import timedelta

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from app.jobs import lifecycle
from app.leases import ends, files, records
from app.models import ArtifactChunk, Job, Teacher
from app.platform.db import database_now, session_scope
from app.platform.settings import get_settings
from app.storage import get_store
from worker import attempt_runner


@pytest.fixture(params=["attempt_over_database", "attempt_over_http"], ids=["database", "http"])
def attempt(request):
    """Of a worker with a database, and of one that reaches the server alone."""
    return request.getfixturevalue(request.param)


def content(row):
    return b"".join(get_store().read(row.id, 0, row.bytes))


def in_background(attempt, job_id, **options):
    """Runs the attempt beside the test; the box holds how it ended."""
    box = []
    thread = threading.Thread(target=lambda: box.append(attempt(job_id, **options)), daemon=True)
    thread.start()

    def ended():
        thread.join(30)
        assert box, "the attempt goes on"
        return box[0]

    return ended


def pause(job_id):
    with session_scope() as session:
        lifecycle.request_pause(session, job_id, "local")


def resume(job_id, **metadata):
    """Queue it again, to do something else from now on."""
    with session_scope() as session:
        lifecycle.request_resume(session, job_id, "local")
        job = session.get_one(Job, job_id)
        job.resolved_spec = {**job.resolved_spec, "metadata": metadata}


def cancel(job_id):
    with session_scope() as session:
        lifecycle.request_cancel(session, job_id, "local")


def test_success_publishes_student_samples_and_warning(scripted, attempt, stored_jobs, orphans, home):
    job_id = scripted("finish")
    assert attempt(job_id) == "succeeded"
    artifacts = stored_jobs.artifacts(job_id)
    assert content(artifacts["student"][0]) == b"a student"
    assert not artifacts["student"][0].partial
    assert [a.media_type for a in artifacts["samples"]] == ["image/png"]
    warning = next(e for e in stored_jobs.events(job_id) if e.type == "warning")
    assert warning.data == {"code": "collapse_suspected", "message": "hm"}
    assert not orphans()
    assert list((home / "scratch").iterdir()) == []


def test_cancel_keeps_the_partial_student(scripted, attempt, stored_jobs, orphans):
    job_id = scripted("train")
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.step >= 2)
    cancel(job_id)
    assert ended() == "cancelled"
    artifacts = stored_jobs.artifacts(job_id)
    assert [a.partial for a in artifacts["student"]] == [True]
    assert "checkpoint" not in artifacts
    assert stored_jobs.row(job_id).result["training"]["steps"] >= 2
    assert [e.type for e in stored_jobs.events(job_id)][-1] == "job.cancelled"
    assert not orphans()


def test_cancel_of_a_runner_that_hangs_kills_it(scripted, attempt, stored_jobs):
    job_id = scripted("hang")
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.phase == "distilling")
    cancel(job_id)
    assert ended() == "cancelled"
    assert stored_jobs.artifacts(job_id) == {}


@pytest.mark.parametrize("act", ["finish_when_told", "crash_when_told"])
def test_a_cancel_wins_over_a_late_result_and_a_crash(scripted, attempt, stored_jobs, orphans, act):
    job_id = scripted(act)
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.phase in ("exporting", "distilling"))
    cancel(job_id)
    assert ended() == "cancelled"
    assert not orphans()


def test_pause_keeps_the_checkpoint_and_resume_goes_on(scripted, attempt, stored_jobs, orphans):
    job_id = scripted("train")
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.step >= 2)
    pause(job_id)
    assert ended() == "paused"
    row = stored_jobs.row(job_id)
    assert (row.status, row.attempt, row.result) == ("paused", 0, None)
    kept = stored_jobs.artifacts(job_id)
    assert set(kept) == {"checkpoint"}
    assert not orphans()
    resume(job_id, act="finish")
    assert attempt(job_id) == "succeeded"
    assert stored_jobs.row(job_id).result["training"]["seconds"] == kept["checkpoint"][-1].step


def test_pause_of_a_runner_that_hangs_kills_it(scripted, attempt, stored_jobs):
    job_id = scripted("hang")
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.phase == "distilling")
    pause(job_id)
    assert ended() == "paused"
    assert stored_jobs.row(job_id).status == "paused"


def test_a_pause_that_comes_too_late_succeeds(scripted, attempt, stored_jobs):
    job_id = scripted("finish_when_told")
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.phase == "exporting")
    pause(job_id)
    assert ended() == "succeeded"


def test_a_cancel_after_a_pause_keeps_the_partial_student(scripted, attempt, stored_jobs, monkeypatch):
    job_id = scripted("train")
    taken = attempt_runner.Attempt._conclude

    def late(self, code):
        cancel(job_id)
        return taken(self, code)

    monkeypatch.setattr(attempt_runner.Attempt, "_conclude", late)
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.step >= 2)
    pause(job_id)
    assert ended() == "cancelled"
    assert [a.partial for a in stored_jobs.artifacts(job_id)["student"]] == [True]


def test_a_cancel_during_a_shutdown_is_not_lost(scripted, attempt, stored_jobs):
    job_id, down = scripted("train"), threading.Event()

    def asked():
        if stored_jobs.row(job_id).step >= 2 and not down.is_set():
            cancel(job_id)
            down.set()
        return down.is_set()

    assert attempt(job_id, shutdown_asked=asked) == "cancelled"
    assert [a.partial for a in stored_jobs.artifacts(job_id)["student"]] == [True]


def test_deadline_fails_and_keeps_the_partial_student(scripted, attempt, stored_jobs):
    job_id = scripted("train", budget={"max_runtime_seconds": 1})
    assert attempt(job_id) == "failed"
    row = stored_jobs.row(job_id)
    assert row.error["code"] == "deadline_exceeded"
    assert [a.partial for a in stored_jobs.artifacts(job_id)["student"]] == [True]


def test_shutdown_requeues_with_the_checkpoint_and_without_counting(scripted, attempt, stored_jobs, orphans):
    job_id = scripted("train")
    down = lambda: stored_jobs.row(job_id).step >= 3  # noqa: E731
    assert attempt(job_id, shutdown_asked=down) == "requeued"
    row = stored_jobs.row(job_id)
    assert (row.status, row.attempt) == ("queued", 0)
    kept = stored_jobs.artifacts(job_id)
    assert set(kept) == {"checkpoint"}
    assert len(kept["checkpoint"]) == 2
    assert not orphans()
    newest = int(content(kept["checkpoint"][-1]))
    begun = newest
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.step > begun)
    cancel(job_id)
    assert ended() == "cancelled"
    notes = [e.data for e in stored_jobs.events(job_id) if e.type == "note"]
    assert [n["code"] for n in notes] == ["resumed"]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(scripted, attempt, stored_jobs):
    job_id = scripted("train")
    attempt(job_id, shutdown_asked=lambda: stored_jobs.row(job_id).step >= 3)
    before, newest = stored_jobs.artifacts(job_id)["checkpoint"]
    with session_scope() as session:
        session.execute(
            update(ArtifactChunk).where(ArtifactChunk.artifact_id == newest.id).values(data=b"9999")
        )
        spec = {**stored_jobs.row(job_id).resolved_spec, "metadata": {"act": "finish"}}
        session.execute(update(Job).where(Job.id == job_id).values(resolved_spec=spec))
    assert attempt(job_id) == "succeeded"
    assert stored_jobs.row(job_id).result["training"]["seconds"] == before.step
    events = [event.data for event in stored_jobs.events(job_id) if event.type == "warning"]
    (warning,) = [data for data in events if data["code"] == "checkpoint_damaged"]
    assert (warning["step"], warning["artifact_id"]) == (newest.step, newest.id)
    assert "checkpoint" not in stored_jobs.artifacts(job_id)


def test_the_watchdog_ends_a_step_that_hangs(scripted, attempt, stored_jobs, monkeypatch):
    monkeypatch.setenv("DFAD_WATCHDOG_SECONDS", "0.5")
    get_settings.cache_clear()
    job_id = scripted("hang_late")
    assert [attempt(job_id) for _ in range(3)] == ["requeued", "requeued", "failed"]
    assert stored_jobs.row(job_id).error["code"] == "hung"


def test_a_runner_that_grows_too_large_is_killed_in_time(scripted, attempt, stored_jobs, monkeypatch):
    monkeypatch.setenv("DFAD_RUNNER_MEMORY_BYTES", "200000000")
    get_settings.cache_clear()
    job_id = scripted("grow")
    assert [attempt(job_id) for _ in range(3)] == ["requeued", "requeued", "failed"]
    assert stored_jobs.row(job_id).error["code"] == "out_of_memory"


@pytest.mark.parametrize("way", ["crash runner_crashed", "tear runner_crashed", "memory out_of_memory"])
def test_a_runner_that_dies_every_time_fails_at_the_third(scripted, attempt, stored_jobs, orphans, way):
    act, code = way.split()
    job_id = scripted(act)
    assert [attempt(job_id) for _ in range(3)] == ["requeued", "requeued", "failed"]
    row = stored_jobs.row(job_id)
    assert (row.status, row.attempt, row.error["code"]) == ("failed", 3, code)
    assert not orphans()


def test_an_error_of_the_engine_fails_at_once(scripted, attempt, stored_jobs):
    job_id = scripted("diverge")
    assert attempt(job_id) == "failed"
    assert stored_jobs.row(job_id).error == {"code": "diverged", "message": "the loss is not finite"}


def test_an_error_after_some_training_keeps_the_partial_student(scripted, attempt, stored_jobs):
    job_id = scripted("diverge_late")
    assert attempt(job_id) == "failed"
    row = stored_jobs.row(job_id)
    assert (row.error["code"], row.error["param"]) == ("diverged", "student")
    assert (row.result["training"]["steps"], row.result["training"]["complete"]) == (7, False)
    assert [a.partial for a in stored_jobs.artifacts(job_id)["student"]] == [True]


def test_a_rejected_teacher_is_marked_so(scripted, attempt, stored_jobs):
    job_id = scripted("reject")
    assert attempt(job_id) == "failed"
    row = stored_jobs.row(job_id)
    assert (row.error["code"], row.error["param"]) == ("architecture_mismatch", "architecture")
    with session_scope() as session:
        teacher = session.get_one(Teacher, row.teacher_id)
        assert (teacher.status, teacher.error["code"]) == ("rejected", "architecture_mismatch")


def test_damaged_teacher_bytes_are_noticed(scripted, attempt, stored_jobs):
    job_id = scripted("finish")
    with session_scope() as session:
        session.execute(update(ArtifactChunk).values(data=b"something else"))
    assert attempt(job_id) == "failed"
    assert stored_jobs.row(job_id).error["code"] == "corrupt_file"


def test_an_attempt_that_lost_its_job_publishes_nothing(scripted, attempt, stored_jobs, orphans):
    job_id = scripted("train")
    ended = in_background(attempt, job_id)
    stored_jobs.wait(job_id, lambda row: row.step >= 2)
    with session_scope() as session:
        session.execute(update(Job).where(Job.id == job_id).values(fence=Job.fence + 1, lease_owner="w2"))
        events = session.get_one(Job, job_id).last_seq
    assert ended() == "stale"
    row = stored_jobs.row(job_id)
    assert (row.status, row.lease_owner, row.last_seq) == ("running", "w2", events)
    assert "student" not in stored_jobs.artifacts(job_id)
    assert not orphans()


def _away(*_args, **_options):
    raise OperationalError("UPDATE", {}, Exception("the database is away"))


def flaky(function, failures):
    """Fails as a database that is away does, `failures` times, then works."""
    left = [failures]

    def call(*args, **options):
        left[0] -= 1
        return _away() if left[0] >= 0 else function(*args, **options)

    return call


@pytest.mark.parametrize(
    "where",
    ["files.fetch", "records.record_event", "files.store", "records.drop_checkpoints", "lifecycle.succeed"],
)
def test_a_database_that_comes_back_costs_nothing(
    scripted, attempt, stored_jobs, orphans, monkeypatch, where
):
    module, name = where.split(".")
    owner = {"files": files, "records": records, "lifecycle": lifecycle}[module]
    monkeypatch.setattr(owner, name, flaky(getattr(owner, name), 2))
    monkeypatch.setattr(attempt_runner, "AWAY_SECONDS", 0.05)
    job_id = scripted("finish")
    assert attempt(job_id) == "succeeded"
    assert stored_jobs.row(job_id).status == "succeeded"
    (student,) = stored_jobs.artifacts(job_id)["student"]
    assert content(student) == b"a student"
    assert not orphans()


def test_a_commit_whose_answer_is_lost_is_not_undone(scripted, attempt, stored_jobs, monkeypatch):
    """The job succeeded, but the attempt is told that the connection broke."""
    succeed, broken = lifecycle.succeed, []

    class TornScope:
        def __enter__(self):
            self._scope = session_scope()
            return self._scope.__enter__()

        def __exit__(self, *about):
            self._scope.__exit__(*about)
            if broken == ["now"]:
                broken.append("once")
                _away()

    def noticed(*args):
        broken.append("now")
        return succeed(*args)

    monkeypatch.setattr(lifecycle, "succeed", noticed)
    monkeypatch.setattr(ends, "session_scope", TornScope)
    monkeypatch.setattr(attempt_runner, "AWAY_SECONDS", 0.05)
    job_id = scripted("finish")
    assert attempt(job_id) == "stale"
    assert stored_jobs.row(job_id).status == "succeeded"
    (student,) = stored_jobs.artifacts(job_id)["student"]
    assert content(student) == b"a student"


def test_a_database_that_stays_away_ends_the_attempt_as_stale(
    scripted, attempt, stored_jobs, monkeypatch, fast_beats
):
    fast_beats(fence=0.5)
    monkeypatch.setattr(attempt_runner, "AWAY_SECONDS", 0.05)
    job_id = scripted("finish")
    monkeypatch.setattr(records, "record_event", _away)
    monkeypatch.setattr(records, "heartbeat", _away)
    assert attempt(job_id) == "stale"
    assert stored_jobs.row(job_id).status == "running"
    assert "student" not in stored_jobs.artifacts(job_id)


def test_the_deadline_counts_all_attempts(scripted, attempt, stored_jobs):
    job_id = scripted("train", budget={"steps": 10, "max_runtime_seconds": 3600})
    with session_scope() as session:
        long_ago = database_now(session) - timedelta(hours=2)
        session.execute(update(Job).where(Job.id == job_id).values(started_at=long_ago))
    assert attempt(job_id) == "failed"
    assert stored_jobs.row(job_id).error["code"] == "deadline_exceeded"
