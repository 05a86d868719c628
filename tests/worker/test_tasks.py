"""Task bodies: doubled, late and senseless messages are harmless."""

import pytest

from worker.shutdown import _asked, ask_shutdown


@pytest.fixture
def tasks(home):
    """Imported late: the Celery application reads the settings, which make the broker's folders."""
    from worker import tasks

    return tasks


def test_ten_deliveries_are_one_run(scripted, tasks, stored_jobs):
    job_id = scripted("finish")
    for _ in range(10):
        tasks.run_job(job_id)
    assert stored_jobs.row(job_id).status == "succeeded"
    assert [e.type for e in stored_jobs.events(job_id)].count("job.running") == 1


def test_messages_about_nothing(database, tasks):
    tasks.run_job("job_gone")


def test_a_worker_that_shuts_down_claims_nothing(scripted, tasks, stored_jobs):
    job_id = scripted("finish")
    ask_shutdown()
    try:
        tasks.run_job(job_id)
    finally:
        _asked.clear()
    assert stored_jobs.row(job_id).status == "queued"


def test_settings_that_keep_messages_mere_hints(home):
    from worker.celery_app import celery_app

    conf = celery_app.conf
    assert not conf.task_acks_late
    assert conf.worker_prefetch_multiplier == 1
    assert conf.task_ignore_result
    assert conf.accept_content == ["json"]
    assert (conf.task_time_limit, conf.task_soft_time_limit) == (None, None)
