"""A teacher's inspection by a real runner, and by runners that misbehave."""

import io
import pickle
import zipfile
from pathlib import Path

from app.models import Teacher
from app.platform.db import read_scope
from app.platform.settings import get_settings
from app.teachers.inspections import InspectionClaim
from worker import inspection
from worker.database_service import DatabaseService
from worker.process import RunnerProcess
from worker.shutdown import _asked, ask_shutdown


def inspect_teacher(teacher_id, **more):
    """Of a worker that holds the database."""
    claim = InspectionClaim(teacher_id, "local", "w1")
    return inspection.inspect_teacher(claim, DatabaseService(), **more)


def teacher(teacher_id):
    with read_scope() as session:
        return session.get_one(Teacher, teacher_id)


class Evil:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return (open, (self._path, "w"))


def test_a_file_that_says_all_is_ready(database, home, stored_jobs):
    teacher_id = stored_jobs.teacher()
    assert inspect_teacher(teacher_id) == "ready"
    row = teacher(teacher_id)
    assert row.status == "ready"
    assert row.inspection["architecture"] == "mlp8"
    assert row.inspection["num_classes"] == 10
    assert row.inspection["parameters"] > 0
    offered = row.inspection["students"]
    assert all(one["compression"] >= wanted for one, wanted in zip(offered, (2, 4, 10), strict=False))
    assert {"architecture", "args", "parameters", "macs", "bytes"} <= offered[0].keys()
    assert list((home / "scratch").iterdir()) == []
    assert inspect_teacher(teacher_id) == "ready"


def test_a_pickle_with_code_is_rejected_and_not_run(database, stored_jobs, tmp_path):
    trap, file = tmp_path / "ran", io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"w": Evil(str(trap))}, protocol=2))
        archive.writestr("archive/version", "3\n")
    teacher_id = stored_jobs.teacher(file.getvalue(), architecture="mlp8")
    assert inspect_teacher(teacher_id) == "rejected"
    row = teacher(teacher_id)
    assert (row.status, row.error["code"]) == ("rejected", "unsafe_pickle")
    assert str(tmp_path) not in row.error["message"]
    assert not trap.exists()


def test_a_reader_that_is_killed_is_not_the_files_fault(database, stored_jobs, tmp_path, monkeypatch):
    """Tried: with one look alone, a good teacher was rejected for a kill from outside."""
    script, counter = tmp_path / "killed.py", tmp_path / "count"
    script.write_text(
        "import os, pathlib, sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        "from worker.protocol import Message, read_message, write_message\n"
        f"counter = pathlib.Path({str(counter)!r})\n"
        "counter.write_text(counter.read_text() + '.' if counter.exists() else '.')\n"
        "if len(counter.read_text()) < 3:\n"
        "    os.kill(os.getpid(), 9)\n"
        "out = os.fdopen(int(sys.argv[1]), 'wb')\n"
        "read_message(sys.stdin.buffer)\n"
        "write_message(out, Message('result', {'inspection': {'num_classes': 10}}))\n"
    )
    monkeypatch.setattr(RunnerProcess, "program", (str(script),))
    assert inspect_teacher(stored_jobs.teacher()) == "ready"


def test_a_reader_that_crashes(database, stored_jobs, tmp_path, monkeypatch):
    script = tmp_path / "crash.py"
    script.write_text("raise SystemExit(1)")
    monkeypatch.setattr(RunnerProcess, "program", (str(script),))
    teacher_id = stored_jobs.teacher()
    assert inspect_teacher(teacher_id) == "rejected"
    assert teacher(teacher_id).error["code"] == "loader_crashed"


def test_a_reader_that_hangs(database, stored_jobs, tmp_path, monkeypatch):
    script = tmp_path / "hang.py"
    script.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(RunnerProcess, "program", (str(script),))
    monkeypatch.setattr(inspection, "INSPECTION_SECONDS", 0.3)
    teacher_id = stored_jobs.teacher()
    assert inspect_teacher(teacher_id) == "rejected"
    assert teacher(teacher_id).error["code"] == "loader_timeout"


def test_a_worker_that_shuts_down_leaves_it_waiting(database, stored_jobs, tmp_path, monkeypatch):
    script = tmp_path / "hang.py"
    script.write_text("import time; time.sleep(600)")
    monkeypatch.setattr(RunnerProcess, "program", (str(script),))
    teacher_id = stored_jobs.teacher()
    ask_shutdown()
    try:
        assert inspect_teacher(teacher_id) == "inspecting"
    finally:
        _asked.clear()
    assert teacher(teacher_id).status == "inspecting"


def test_beside_a_job_it_takes_one_thread(database, stored_jobs, monkeypatch):
    monkeypatch.setenv("DFAD_RUNNER_THREADS", "2")
    get_settings.cache_clear()
    alone, beside = stored_jobs.teacher(), stored_jobs.teacher()
    assert inspect_teacher(alone) == "ready"
    assert inspect_teacher(beside, job_runs=lambda: True) == "ready"
    assert [teacher(one).inspection["timing"]["threads"] for one in (alone, beside)] == [2, 1]
