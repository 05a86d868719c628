"""A worker that is started by need: it works, for however long, and ends by itself once it is idle."""

from app.messaging.dispatch import send_due


def test_a_worker_without_work_ends_and_one_with_work_does_not(database, monkeypatch, workers, stored_jobs):
    monkeypatch.setenv("DFAD_LEASE_SECONDS", "3")
    monkeypatch.setenv("DFAD_REPUBLISH_SECONDS", "0.5")
    monkeypatch.setenv("DFAD_WORKER_IDLE_SECONDS", "4")
    # Twice as long as a worker may be idle.
    training = {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8}
    job_id = stored_jobs.submit(budget={"train_seconds": 8, "steps": 1_000_000}, training=training)
    send_due()
    worker = workers.start()
    row = stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 120)
    assert (row.status, row.attempt) == ("succeeded", 1)
    assert worker.wait(timeout=60) == 0
