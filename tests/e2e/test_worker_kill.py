"""Real workers, real runners, real SIGKILLs: jobs survive them."""

import os
import signal
from pathlib import Path

import pytest

from app.messaging.dispatch import send_due
from app.platform.settings import get_settings

#: By the clock, so that a fast machine is not done before it is killed and a slow one not for ever.
LONG = {
    "budget": {"train_seconds": 4, "steps": 1_000_000},
    "training": {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8},
}


def kinds(events, kind):
    return [e.data for e in events if e.type == kind]


def parent(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def test_a_killed_worker_that_starts_again_finishes_from_the_checkpoint(database, workers, stored_jobs):
    job_id = stored_jobs.submit(**LONG)
    send_due()
    first = workers.start()
    stored_jobs.wait(job_id, lambda row: "checkpoint" in stored_jobs.artifacts(job_id), 90)
    workers.kill(first)
    saved = stored_jobs.artifacts(job_id)["checkpoint"][-1].step
    assert stored_jobs.row(job_id).status == "running"  # nobody was left to say otherwise

    workers.start()
    row = stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 120)
    assert (row.status, row.attempt) == ("succeeded", 2)
    assert row.step > saved
    events = stored_jobs.events(job_id)
    assert [e.data["reason"] for e in events if e.type == "job.requeued"] == ["lease expired"]
    resumed = [n["message"] for n in kinds(events, "note") if n["code"] == "resumed"]
    assert resumed == [f"goes on from step {saved}"]
    second = [e.seq for e in events if e.type == "job.running"][1]
    assert all(e.data["step"] > saved for e in events if e.type == "progress" and e.seq > second)
    artifacts = stored_jobs.artifacts(job_id)
    assert len(artifacts["student"]) == len(artifacts["report"]) == 1
    assert not artifacts["student"][0].partial
    assert "checkpoint" not in artifacts


def test_sigterm_saves_the_job_and_gives_it_back(database, workers, stored_jobs):
    """A deploy: checkpoint, requeue, and an orderly end of the worker."""
    job_id = stored_jobs.submit(**{**LONG, "budget": {"steps": 100_000}})
    send_due()
    worker = workers.start()
    stored_jobs.wait(job_id, lambda row: row.step > 20, 90)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0
    row = stored_jobs.row(job_id)
    assert (row.status, row.attempt, row.lease_owner) == ("queued", 0, None)
    requeued = kinds(stored_jobs.events(job_id), "job.requeued")
    assert [e["reason"] for e in requeued] == ["its worker shut down"]
    assert stored_jobs.artifacts(job_id)["checkpoint"][-1].step >= row.step
    assert workers.runners(worker) == []


@pytest.mark.services
def test_killed_runner_and_killed_fork_server_on_postgres_and_redis(
    postgres, redis, workers, stored_jobs, monkeypatch
):
    """The production form: the runner is killed, then what forked it; the third attempt ends it."""
    monkeypatch.setenv("DFAD_DATABASE_URL", postgres)
    monkeypatch.setenv("DFAD_BROKER_URL", redis)
    get_settings.cache_clear()
    job_id = stored_jobs.submit(**LONG)
    assert send_due() == 1
    worker = workers.start()
    stored_jobs.wait(job_id, lambda row: "checkpoint" in stored_jobs.artifacts(job_id), 90)
    (runner,) = workers.runners(worker)
    os.kill(runner, signal.SIGKILL)
    stored_jobs.wait(job_id, lambda row: row.attempt == 2 and row.phase == "distilling", 60)
    (runner,) = workers.runners(worker)
    os.kill(parent(runner), signal.SIGKILL)
    row = stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 120)
    assert (row.status, row.attempt) == ("succeeded", 3)
    events = stored_jobs.events(job_id)
    reasons = [e["reason"] for e in kinds(events, "job.requeued")]
    assert reasons == ["the runner died", "the runner died"]
    assert [n["code"] for n in kinds(events, "note")].count("resumed") == 2
    assert {k: len(v) for k, v in stored_jobs.artifacts(job_id).items() if k != "samples"} == {
        "student": 1,
        "report": 1,
        "manifest": 1,
    }
