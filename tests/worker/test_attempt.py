"""One attempt with a real runner and a tiny job: how it ends, and what it leaves."""

import hashlib
import io

from PIL import Image
from sqlalchemy import func, select

from app.models import JobMetric, Teacher
from app.platform.db import read_scope
from app.storage import get_store


def content(row):
    return b"".join(get_store().read(row.id, 0, row.bytes))


def test_a_job_from_claim_to_student(database, home, stored_jobs, attempt, tmp_path):
    teacher_id = stored_jobs.teacher()
    job_id = stored_jobs.submit(teacher_id, seed=5)
    assert attempt(job_id) == "succeeded"
    row = stored_jobs.row(job_id)
    assert (row.status, row.attempt, row.step, row.total_steps) == ("succeeded", 1, 10, 10)
    assert row.result["student"]["architecture"] == "mlp8"
    assert row.result["training"]["threads"] == 1, "as set, though its process was forked from one for more"
    assert row.result["compression"] > 1
    assert row.result["fidelity"]
    assert row.result["accuracy"] is None
    types = [e.type for e in stored_jobs.events(job_id)]
    assert (types[0], types[-1]) == ("job.queued", "job.succeeded")
    phases = [e.data["phase"] for e in stored_jobs.events(job_id) if e.type == "phase"]
    assert phases == ["loading", "warming_up", "distilling", "evaluating", "exporting"]
    assert "progress" in types
    artifacts = stored_jobs.artifacts(job_id)
    assert {k: len(v) for k, v in artifacts.items() if k != "samples"} == {
        "student": 1,
        "report": 1,
        "manifest": 1,
    }
    for kind in artifacts:
        for artifact in artifacts[kind]:
            assert artifact.published_at is not None
            assert not artifact.partial
            assert hashlib.sha256(content(artifact)).hexdigest() == artifact.sha256
    Image.open(io.BytesIO(content(artifacts["samples"][-1]))).verify()
    assert content(artifacts["report"][0]).lstrip().lower().startswith(b"<!doctype html")
    with read_scope() as session:
        assert session.scalar(select(func.count()).select_from(JobMetric)) > 0
        teacher = session.get_one(Teacher, teacher_id)
        assert (teacher.status, teacher.inspection["architecture"]) == ("ready", "mlp8")
    assert list((home / "scratch").iterdir()) == []

    from dfad_core import load_student

    path = tmp_path / "student.safetensors"
    path.write_bytes(content(artifacts["student"][0]))
    assert load_student(path).dfad_metadata.architecture == "mlp8"


def test_a_job_that_cannot_end_in_time_is_refused_before_it_trains(database, stored_jobs, attempt):
    job_id = stored_jobs.submit(budget={"steps": 10**7, "max_runtime_seconds": 60})
    assert attempt(job_id) == "failed"
    row = stored_jobs.row(job_id)
    assert (row.status, row.error["code"], row.error["param"]) == ("failed", "deadline_too_short", "budget")
    assert "`max_runtime_seconds` leaves" in row.error["message"]
    phases = [e.data["phase"] for e in stored_jobs.events(job_id) if e.type == "phase"]
    assert phases == ["loading", "warming_up"]
    assert stored_jobs.artifacts(job_id) == {}


def test_a_job_that_cannot_fit_is_refused_before_it_trains(database, stored_jobs, attempt, monkeypatch):
    # More than a runner holds at its start, and less than the images of one batch.
    monkeypatch.setattr("worker.attempt_runner.runner_memory", lambda _settings: 2**20)
    job_id = stored_jobs.submit(budget={"steps": 10})
    assert attempt(job_id) == "failed"
    assert stored_jobs.row(job_id).error["code"] == "memory_limit"
    assert stored_jobs.artifacts(job_id) == {}
