"""Accuracy of a finished job on images that come later, by a real runner and by runners that misbehave."""

import io
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from app.jobs import measurements
from app.models import Artifact, Upload
from app.platform.db import database_now, session_scope
from app.platform.ids import new_id
from app.platform.settings import get_settings
from app.storage import get_store
from app.teachers.service import remove_teacher
from dfad_core.contract.job_result import JobError
from worker import measurement
from worker.database_service import DatabaseService
from worker.measurement import measure_job
from worker.measurer import Measurer
from worker.process import RunnerProcess
from worker.shutdown import _asked, ask_shutdown

RUNNER = """
import os, sys, time
sys.path.insert(0, {root!r})
from worker.protocol import Message, read_message, write_message
out = os.fdopen(int(sys.argv[1]), "wb")
read_message(sys.stdin.buffer)
{act}
"""


def upload(content):
    """A completed upload; its id."""
    artifact_id, upload_id = new_id("art"), new_id("upl")
    stored = get_store().put(artifact_id, [content])
    with session_scope() as session:
        now = database_now(session)
        about = {"tenant_id": "local", "filename": "mine.npz", "bytes": stored.bytes, "sha256": stored.sha256}
        session.add(Artifact(id=artifact_id, kind="upload", created_at=now, **about))
        session.add(
            Upload(
                id=upload_id, artifact_id=artifact_id, status="completed", part_bytes=1, created_at=now,
                expires_at=now + timedelta(hours=1), **about,
            )
        )  # fmt: skip
    return upload_id


def npz(count=12):
    file = io.BytesIO()
    images = np.random.default_rng(0).integers(0, 255, (count, 8, 8), np.uint8)
    np.savez(file, images=images, labels=np.arange(count) % 10)
    return file.getvalue()


@pytest.fixture
def ended(database, stored_jobs, attempt):
    """A job that has ended, with an export."""
    job_id = stored_jobs.submit(exports=["safetensors", "onnx"])
    assert attempt(job_id) == "succeeded"
    return job_id


@pytest.fixture
def quickly_ended(scripted, attempt):
    """A job that has ended without an engine."""
    job_id = scripted("finish")
    assert attempt(job_id) == "succeeded"
    return job_id


def claim(job_id, content):
    measurements.ask(job_id, "local", upload(content))
    claimed = measurements.claim_measurement("w")
    assert claimed.job_id == job_id
    return claimed


def runners_that(act, tmp_path, monkeypatch):
    script = tmp_path / "runner.py"
    script.write_text(RUNNER.format(root=str(Path(__file__).parents[2]), act=act))
    monkeypatch.setattr(RunnerProcess, "program", (str(script),))


def test_teacher_student_and_export_are_measured(ended, stored_jobs, home):
    before = stored_jobs.artifacts(ended)
    assert measure_job(claim(ended, npz()), DatabaseService()) == "succeeded"
    row, artifacts = stored_jobs.row(ended), stored_jobs.artifacts(ended)
    accuracy = row.result["accuracy"]
    assert (row.measurement["status"], row.measurement["error"]) == ("succeeded", None)
    assert (accuracy["images"], accuracy["data"]) == (12, "12 labelled images (npz)")
    assert accuracy["exports"] == {"onnx": accuracy["student"]}
    assert row.result["training"]["steps"] == 10
    assert artifacts.keys() == before.keys()
    (old,), reports = before["report"], artifacts["report"]
    (report,) = [one for one in reports if one.id != old.id]
    assert (len(reports), report.filename) == (2, "report_measured.html"), "the manifest's report stays"
    page = b"".join(get_store().read(report.blob_id, 0, report.bytes)).decode()
    assert "On 12 labelled images (npz): teacher" in page
    assert ", as onnx " in page
    assert "What the generator showed the student" in page
    assert list((home / "scratch").iterdir()) == []


def test_images_that_cannot_be_read_fail_the_measurement_alone(ended, stored_jobs):
    assert measure_job(claim(ended, b"no images at all"), DatabaseService()) == "failed"
    row = stored_jobs.row(ended)
    assert (row.status, row.result["accuracy"]) == ("succeeded", None)
    assert row.measurement["error"]["code"] == "bad_evaluation_data"
    assert row.measurement["error"]["param"] == "evaluation"


def test_the_reader_of_the_images_cannot_reach_the_students_files(quickly_ended, tmp_path):
    start = measurement._prepare(claim(quickly_ended, npz()), DatabaseService(), tmp_path, lambda: True)
    foreign = Path(start["labelled_path"]).parent
    assert Path(start["teacher_path"]).parent == foreign
    own = [*start["students"].values(), *(path for _, path in start["pictures"])]
    assert own
    assert all(foreign not in Path(path).parents for path in own)


@pytest.mark.parametrize(
    ("act", "code"),
    [
        ("os._exit(1)", "runner_crashed"),
        ("time.sleep(600)", "hung"),
        ("while True: write_message(out, Message('alive')); time.sleep(0.05)", "measurement_timeout"),
        ("held = bytearray(b'x' * 500_000_000); time.sleep(600)", "out_of_memory"),
    ],
)
def test_runners_that_misbehave(quickly_ended, stored_jobs, tmp_path, monkeypatch, act, code):
    runners_that(act, tmp_path, monkeypatch)
    if code == "hung":
        monkeypatch.setenv("DFAD_WATCHDOG_SECONDS", "1")
    monkeypatch.setenv("DFAD_RUNNER_MEMORY_BYTES", "400000000")
    get_settings.cache_clear()
    monkeypatch.setattr(measurement, "MEASUREMENT_SECONDS", 1.0 if code == "measurement_timeout" else 60.0)
    assert measure_job(claim(quickly_ended, npz()), DatabaseService()) == "failed"
    assert stored_jobs.row(quickly_ended).measurement["error"]["code"] == code


def test_a_worker_that_shuts_down_leaves_it_waiting(quickly_ended, tmp_path, monkeypatch):
    runners_that("time.sleep(600)", tmp_path, monkeypatch)
    claimed = claim(quickly_ended, npz())
    ask_shutdown()
    try:
        assert measure_job(claimed, DatabaseService()) == "waiting"
    finally:
        _asked.clear()
    measurements.give_back(claimed)
    assert measurements.claim_measurement("another") is not None


def test_a_teacher_that_is_deleted_meanwhile(quickly_ended, stored_jobs):
    claimed = claim(quickly_ended, npz())
    remove_teacher(claimed.teacher_id, "local")
    assert measure_job(claimed, DatabaseService()) == "failed"
    assert stored_jobs.row(quickly_ended).measurement["error"]["code"] == "teacher_deleted"


def test_a_lost_claim_leaves_no_bytes(quickly_ended, orphans):
    claimed = claim(quickly_ended, npz())
    measurements.fail(claimed, JobError("hung", "No."))
    assert not measurement._publish(claimed, DatabaseService(), None, b"a report")
    assert not orphans()


def test_the_thread_measures_what_waits(ended, stored_jobs, until):
    thread = Measurer()
    thread.start()
    try:
        measurements.ask(ended, "local", upload(npz()))
        assert until(lambda: stored_jobs.row(ended).measurement["status"] == "succeeded")
    finally:
        thread.close()
    assert not thread.is_alive()
