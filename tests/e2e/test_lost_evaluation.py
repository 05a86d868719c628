"""A job whose every evaluation is killed: its training is done once, and its student can be downloaded.

Guards: `Hooks.student_ready`, the checkpoint of the last step, and `publish_student` in every end of a job.
"""

import contextlib
import os
import signal

import httpx
import pytest

from app.messaging.dispatch import send_due
from testing.running_service import end, start
from testing.workers import SHORT

ATTEMPTS = 2
TRIES = 4
"""On a busy machine an evaluation may be over before the signal comes."""


@pytest.fixture
def url(database, home, short_leases):
    """A real server on the test's database."""
    address, processes = start(home, "app", **SHORT)
    yield address
    end(processes)


def kill_in_evaluation(stored_jobs, runners, job_id):
    """Whether every attempt could be killed there."""
    for number in range(1, ATTEMPTS + 1):
        row = stored_jobs.wait(
            job_id,
            lambda row, number=number: (
                row.finished_at or (row.attempt == number and row.phase in ("evaluating", "exporting"))
            ),
            90,
        )
        if row.finished_at:
            return False
        for pid in runners():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 90).status == "failed"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("module", ["testing.light_worker", "worker"])
def test_the_student_of_an_evaluation_that_always_dies(
    url, workers, stored_jobs, tmp_path, monkeypatch, module
):
    monkeypatch.setenv("DFAD_MAX_ATTEMPTS", str(ATTEMPTS))
    worker = workers.start(module)
    found = workers.light_runners if module != "worker" else workers.runners
    for _ in range(TRIES):
        job_id = stored_jobs.submit(metadata={"linger": "0.5"})
        send_due()
        if kill_in_evaluation(stored_jobs, lambda: found(worker), job_id):
            break
    with httpx.Client(base_url=url, timeout=30, trust_env=False) as http:
        job = http.get(f"/jobs/{job_id}").json()
        assert (job["status"], job["attempt"], job["error"]["code"]) == ("failed", 2, "runner_crashed")
        assert "its student is kept" in job["error"]["message"]
        assert job["result"] is not None
        assert [(a["kind"], a["partial"]) for a in job["artifacts"]] == [("student", True)]
        student = http.get(f"/jobs/{job_id}/student")
        assert (student.status_code, student.headers["DFAD-Partial"]) == (200, "true")
        events = http.get(f"/jobs/{job_id}/events", params={"limit": 1000}).json()["data"]
    (note,) = [e["data"] for e in events if e["type"] == "note" and e["data"]["code"] == "resumed"]
    assert note["message"] == f"goes on from step {10 if module == 'worker' else 5}"
    # The second attempt finds its training done: it tells of no step.
    second = events[[e["type"] for e in events].index("job.requeued") :]
    steps = [e for e in second if e["type"] == "progress" and "phase" not in e["data"]]
    assert steps == [] or module != "worker"
    if module == "worker":
        from dfad_core import load_student

        path = tmp_path / "student.safetensors"
        path.write_bytes(student.content)
        assert load_student(path).dfad_metadata.extra["steps"] == 10
