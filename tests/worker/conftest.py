"""Attempts without a Celery worker, and runners that misbehave on demand."""

import secrets
import socket
import threading
import time
from pathlib import Path

import pytest
import uvicorn
from sqlalchemy import select

from app.access.keys.principal import OPERATOR
from app.access.keys.service import create_key
from app.jobs import lifecycle
from app.leases.holding import owner_of
from app.models import Artifact, ArtifactChunk
from app.models.tenancy import ALL_TENANTS, as_system
from app.models.worker_beat import WorkerReport
from app.platform.db import read_scope, session_scope
from app.platform.settings import Settings
from worker.attempt_runner import Attempt
from worker.process import RunnerProcess
from worker.remote.service import RemoteService


@pytest.fixture
def attempt(attempt_over_database):
    """Claims a job and runs one attempt of it; returns how it ended."""
    return attempt_over_database


@pytest.fixture
def attempt_over_database():
    """Claims a job and runs one attempt of it; returns how it ended."""

    def run(job_id, shutdown_asked=lambda: False):
        with session_scope() as session:
            claim = lifecycle.claim(session, job_id, "w1")
        return Attempt(claim, shutdown_asked).run()

    return run


@pytest.fixture
def http_server(database):
    """A server of the same database, in a thread; its address."""
    from app.main import create_app

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_app(), log_config=None, timeout_graceful_shutdown=1))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    server.should_exit = True
    thread.join(20)


@pytest.fixture
def worker_key(database):
    """Makes keys of workers; their id and the key."""

    def make(*scopes, tenant=ALL_TENANTS):
        with as_system(), session_scope() as session:
            about = {"name": "w", "scopes": list(scopes or ("worker",)), "expires_at": None}
            key, token = create_key(session, OPERATOR, tenant_id=tenant, **about)
        return key.id, token

    return make


@pytest.fixture
def remote_service(http_server, worker_key):
    """The service over HTTP, with the id of its key."""
    key_id, token = worker_key()
    made = RemoteService(Settings(server=http_server, api_key=token))
    yield made, key_id
    made.close()


@pytest.fixture
def attempt_over_http(remote_service):
    """As `attempt`, by a worker that has neither database nor store."""
    service, key_id = remote_service

    def run(job_id, shutdown_asked=lambda: False):
        service.sign_of_life(WorkerReport(takes=("auto",)))
        secret = secrets.token_urlsafe(32)
        with session_scope() as session:
            claim = lifecycle.claim(session, job_id, owner_of(service.name, key_id, secret))
        service.keep_secret(claim, secret)
        return Attempt(claim, shutdown_asked, service=service).run()

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
