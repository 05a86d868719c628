"""The thread that inspects: beside a job, one teacher after the other, and gone when the worker goes."""

import json
import logging
import sys
from pathlib import Path

import pytest

from app.models import Teacher
from app.platform.db import read_scope, session_scope
from app.platform.settings import get_settings
from app.teachers import inspections
from app.telemetry.logs import make_formatter
from worker.inspector import Inspector
from worker.process import RunnerProcess
from worker.rounds import job_running
from worker.shutdown import _asked, ask_shutdown

RUNNER = """
import os, sys, time
sys.path.insert(0, {root!r})
from worker.protocol import Message, read_message, write_message
out = os.fdopen(int(sys.argv[1]), "wb")
data = read_message(sys.stdin.buffer).data
with open({log!r}, "a") as log:
    log.write(f"{{data['threads']}}\\n")
if {hangs} and (data["threads"] > 1 or {hangs} == 2):
    time.sleep(600)
write_message(out, Message("result", {{"inspection": {{"timing": {{"threads": data["threads"]}}}}}}))
"""


def teacher(teacher_id):
    with read_scope() as session:
        return session.get_one(Teacher, teacher_id)


@pytest.fixture
def inspector(database):
    """Ended after the test."""
    thread = Inspector()
    yield thread
    thread.close()
    assert not thread.is_alive()


@pytest.fixture
def reader(database, tmp_path, monkeypatch):
    """Runners that write down their threads, and hang: 0 never, 1 with several threads, 2 always."""
    log = tmp_path / "threads"
    monkeypatch.setenv("DFAD_RUNNER_THREADS", "3")
    get_settings.cache_clear()

    def make(hangs=0):
        script = tmp_path / "reader.py"
        script.write_text(RUNNER.format(root=str(Path(__file__).parents[2]), log=str(log), hangs=hangs))
        monkeypatch.setattr(RunnerProcess, "program", (str(script),))
        return lambda: log.read_text().split() if log.exists() else []

    return make


def test_one_after_the_other(inspector, reader, stored_jobs, until):
    reader()
    ids = [stored_jobs.teacher() for _ in range(3)]
    inspector.start()
    assert until(lambda: [teacher(i).status for i in ids] == ["ready"] * 3)


def test_all_threads_alone_and_one_beside_a_job(inspector, reader, stored_jobs, until):
    threads = reader()
    inspector.start()
    alone = stored_jobs.teacher()
    assert until(lambda: teacher(alone).status == "ready")
    with job_running():
        beside = stored_jobs.teacher()
        assert until(lambda: teacher(beside).status == "ready")
    assert threads() == ["3", "1"]


def test_an_inspection_makes_room_for_a_job_that_begins(inspector, reader, stored_jobs, until):
    threads = reader(hangs=1)
    inspector.start()
    teacher_id = stored_jobs.teacher()
    assert until(lambda: threads() == ["3"])
    with job_running():
        assert until(lambda: teacher(teacher_id).status == "ready")
    assert threads() == ["3", "1"]


def test_a_worker_that_shuts_down_gives_it_back_at_once(inspector, reader, stored_jobs, until, home):
    threads = reader(hangs=2)
    inspector.start()
    teacher_id = stored_jobs.teacher()
    assert until(threads)
    assert teacher(teacher_id).inspector is not None
    ask_shutdown()
    try:
        assert until(lambda: teacher(teacher_id).inspector is None)
    finally:
        inspector.close()
        _asked.clear()
    assert teacher(teacher_id).status == "inspecting"
    assert list((home / "scratch").iterdir()) == []


def test_a_job_that_has_read_it_meanwhile_ends_the_inspection(
    inspector, reader, stored_jobs, until, fast_beats, home
):
    fast_beats()
    threads = reader(hangs=2)
    inspector.start()
    teacher_id, runs = stored_jobs.teacher(), lambda: list((home / "scratch").iterdir())
    assert until(threads)
    with session_scope() as session:
        session.get_one(Teacher, teacher_id).status = "ready"
    assert until(lambda: runs() == [])
    assert teacher(teacher_id).status == "ready"


def test_a_round_that_fails_does_not_end_the_rounds(inspector, reader, stored_jobs, until, monkeypatch):
    reader()
    failed = []
    monkeypatch.setattr("worker.rounds.LOOK_SECONDS", 0.01)
    claim = inspections.claim_inspection

    def flaky(owner):
        if len(failed) < 2:
            failed.append(1)
            raise RuntimeError("a fault")
        return claim(owner)

    monkeypatch.setattr(inspections, "claim_inspection", flaky)
    inspector.start()
    teacher_id = stored_jobs.teacher()
    assert until(lambda: teacher(teacher_id).status == "ready")
    assert len(failed) == 2


def test_a_failure_is_logged_with_its_teacher(inspector, reader, stored_jobs, until, monkeypatch, caplog):
    lines = []

    def fail(*_given, **_more):
        raise RuntimeError("a fault")

    class Kept(logging.Handler):
        def emit(self, record):
            lines.append(json.loads(make_formatter("json", "worker").format(record)))

    handler = Kept(level=logging.ERROR)
    logging.getLogger("worker").addHandler(handler)
    try:
        monkeypatch.setattr(sys.modules["worker.inspector"], "inspect_teacher", fail)
        inspector.start()
        teacher_id = stored_jobs.teacher()
        assert until(lambda: lines)
    finally:
        logging.getLogger("worker").removeHandler(handler)
    assert lines[0]["teacher_id"] == teacher_id
    assert "a fault" in lines[0]["exception"]
