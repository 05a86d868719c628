"""Inspections and measurements of a worker without database, with real runners."""

import hashlib
import io

import numpy as np
import pytest
from sqlalchemy import update

from app.jobs import measurements
from app.leases.records import LeaseLost
from app.models import Artifact, Job, Teacher, Upload
from app.models.worker_beat import WorkerReport
from app.platform.db import database_now, read_scope, session_scope
from app.platform.ids import new_id
from app.storage import get_store
from worker.inspection import inspect_teacher
from worker.measurement import measure_job


@pytest.fixture
def service(remote_service):
    """The service over HTTP, which has told its times."""
    made, _ = remote_service
    made.sign_of_life(WorkerReport(takes=("auto",)))
    return made


def teacher(teacher_id):
    with read_scope() as session:
        return session.get_one(Teacher, teacher_id)


def upload(content):
    """A completed upload; its id."""
    artifact_id, upload_id = new_id("art"), new_id("upl")
    stored = get_store().put(artifact_id, [content])
    with session_scope() as session:
        now = database_now(session)
        about = {
            "tenant_id": "local",
            "filename": "images.npz",
            "bytes": stored.bytes,
            "sha256": stored.sha256,
        }
        session.add(Artifact(id=artifact_id, kind="upload", created_at=now, **about))
        session.add(
            Upload(
                id=upload_id, status="completed", part_bytes=1, artifact_id=artifact_id, created_at=now,
                expires_at=now, **about,
            )
        )  # fmt: skip
    return upload_id


def images():
    content = io.BytesIO()
    generator = np.random.default_rng(0)
    np.savez(content, images=generator.random((12, 1, 8, 8), dtype=np.float32), labels=np.arange(12) % 10)
    return content.getvalue()


def test_a_teacher_is_inspected(service, stored_jobs):
    good, bad = stored_jobs.teacher(), stored_jobs.teacher(b"PK\x03\x04 and nothing more")
    claims = [service.claim_inspection()]
    ended = {claims[0].teacher_id: inspect_teacher(claims[0], service)}
    claims.append(service.claim_inspection())
    ended[claims[1].teacher_id] = inspect_teacher(claims[1], service)
    assert ended == {good: "ready", bad: "rejected"}
    assert teacher(good).inspection["architecture"] == "mlp8"
    assert teacher(bad).error["code"]


def test_an_inspection_that_is_lost_writes_nothing(service, stored_jobs):
    teacher_id = stored_jobs.teacher()
    claim = service.claim_inspection()
    assert service.renew_inspection(claim)
    with session_scope() as session:
        session.execute(update(Teacher).where(Teacher.id == teacher_id).values(inspector="another"))
    assert not service.renew_inspection(claim)
    with pytest.raises(LeaseLost):
        inspect_teacher(claim, service)
    assert teacher(teacher_id).status == "inspecting"


def test_a_job_is_measured_on_images_that_came_later(service, stored_jobs, attempt_over_http, orphans):
    job_id = stored_jobs.submit()
    assert attempt_over_http(job_id) == "succeeded"
    measurements.ask(job_id, "local", upload(images()))
    claim = service.claim_measurement()
    assert service.renew_measurement(claim)
    assert measure_job(claim, service) == "succeeded"
    row = stored_jobs.row(job_id)
    assert (row.measurement["status"], row.result["accuracy"]["images"]) == ("succeeded", 12)
    reports = stored_jobs.artifacts(job_id)["report"]
    assert [r.filename for r in reports] == ["report.html", "report_measured.html"]
    page = b"".join(get_store().read(reports[1].id))
    assert hashlib.sha256(page).hexdigest() == reports[1].sha256
    assert not service.renew_measurement(claim)
    assert not orphans()


def test_a_measurement_given_back_and_one_that_is_lost(service, stored_jobs, attempt_over_http):
    job_id = stored_jobs.submit()
    assert attempt_over_http(job_id) == "succeeded"
    measurements.ask(job_id, "local", upload(images()))
    service.give_back_measurement(service.claim_measurement())
    claim = service.claim_measurement()
    with session_scope() as session:
        session.execute(update(Job).where(Job.id == job_id).values(measurer="another"))
    with pytest.raises(LeaseLost):
        service.store(claim, "measured", "report", None, b"page")
    with pytest.raises(LeaseLost):
        measure_job(claim, service)
    assert stored_jobs.row(job_id).measurement["status"] == "waiting"
