"""SIGKILL of the runner and of the whole worker, in every phase of a job.

Guards: the lease that lapses and the reaper (`expire_leases`), and artifacts that are published with the end
alone (`Pending`). Tried: with the reaper's call taken out of the reconciler the jobs whose worker died stay
running for ever.
"""

import contextlib
import os
import signal

import pytest
from sqlalchemy import func, select

from app.messaging.dispatch import send_due
from app.models import Artifact
from app.platform.db import read_scope
from testing.processes import below

LIGHT = "testing.light_worker"
PHASES = ("loading", "warming_up", "distilling", "evaluating", "exporting")

TRIES = 4
"""On a busy machine a phase may be over before the signal comes, and nothing was hit."""


def victims(worker, workers):
    return {"runner": workers.light_runners(worker)[:1], "worker": [worker.pid, *below(worker.pid)]}


@pytest.mark.timeout(170)
@pytest.mark.parametrize("victim", ["runner", "worker"])
def test_a_job_survives(database, workers, stored_jobs, monkeypatch, victim):
    monkeypatch.setenv("DFAD_MAX_ATTEMPTS", "10")
    about = {"pause": "0.5", "linger": "0.4"}
    worker = workers.start(LIGHT)
    for phase in PHASES:
        for _ in range(TRIES):
            job_id = stored_jobs.submit(metadata=about)
            send_due()
            stored_jobs.wait(job_id, lambda row, phase=phase: row.phase == phase, 60)
            for pid in victims(worker, workers)[victim]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if victim == "worker":
                workers.kill(worker)
                worker = workers.start(LIGHT)
            row = stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 60)
            assert row.status == "succeeded", phase
            with read_scope() as session:
                mine = (Artifact.job_id == job_id, Artifact.kind == "student")
                assert session.scalar(select(func.count()).select_from(Artifact).where(*mine)) == 1
            assert [e.type for e in stored_jobs.events(job_id)].count("job.succeeded") == 1
            if row.attempt > 1:
                break
        assert row.attempt == 2, phase
