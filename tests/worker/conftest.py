"""Attempts without a Celery worker, and runners that misbehave on demand."""

import time
from pathlib import Path

import pytest
from sqlalchemy import select

from app.jobs import lifecycle
from app.models import Artifact, ArtifactChunk
from app.platform.db import read_scope, session_scope
from app.platform.settings import Settings
from worker.attempt_runner import Attempt
from worker.process import RunnerProcess


@pytest.fixture
def attempt():
    """Claims a job and runs one attempt of it; returns how it ended."""

    def run(job_id, shutdown_asked=lambda: False):
        with session_scope() as session:
            claim = lifecycle.claim(session, job_id, "w1")
        return Attempt(claim, shutdown_asked).run()

    return run


@pytest.fixture
def fast_beats(monkeypatch):
    """Leases are renewed every 0.1 s; without a renewal a supervisor stops its runner after `fence` s."""

    def beat(fence=40):
        monkeypatch.setattr(Settings, "heartbeat_seconds", 0.1)
        monkeypatch.setattr(Settings, "self_fence_seconds", fence)

    return beat


@pytest.fixture
def scripted(database, monkeypatch, stored_jobs, fast_beats):
    """Runners do what the job's `act` says; leases and grace are short. Makes such jobs."""
    script = str(Path(__file__).with_name("scripted_runner.py"))
    monkeypatch.setattr(RunnerProcess, "program", (script,))
    monkeypatch.setenv("DFAD_STOP_GRACE_SECONDS", "1")
    fast_beats()
    monkeypatch.setenv("DFAD_RETRY_BACKOFF_SECONDS", "0")
    return lambda act, **spec: stored_jobs.submit(metadata={"act": act}, **spec)


@pytest.fixture
def orphans():
    """Ids of stored bytes that no artifact owns."""

    def find():
        with read_scope() as session:
            owned = set(session.scalars(select(Artifact.id)))
            return set(session.scalars(select(ArtifactChunk.artifact_id))) - owned

    return find


@pytest.fixture
def until():
    """Whether a condition came to hold in time."""

    def wait(holds, seconds=60):
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    return wait
