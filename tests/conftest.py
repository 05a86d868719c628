"""Shared by all tests: settings on a folder of their own, a migrated database, real services.

`database` is SQLite; `each_database` runs its test on SQLite and on PostgreSQL. PostgreSQL and Redis
are started from the machine's own packages, once a session, on free ports in temporary folders. Where
they are not installed the tests that need them are skipped, unless DFAD_REQUIRE_SERVICES=1.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import pytest

from testing.services import Postgres, Redis, ServiceMissing

REQUIRED = os.environ.get("DFAD_REQUIRE_SERVICES") == "1"


def _forget_settings() -> None:
    """Settings, engine and producer are made once a process; each test gets its own."""
    from app import storage
    from app.access.keys import service as keys
    from app.access.keys import tokens
    from app.access.keys.wrong_keys import audited_failures, wrong_keys
    from app.access.people.provider import provider_of
    from app.messaging import dispatch
    from app.platform import db
    from app.platform import settings as config

    if db.get_engine.cache_info().currsize:
        db.get_engine().dispose()
    db.dispose_engine()
    dispatch.producer.cache_clear()
    tokens.pepper.cache_clear()
    keys.recent.clear()
    wrong_keys.clear()
    audited_failures.clear()
    keys.databases_with_keys.clear()
    provider_of.cache_clear()
    storage.get_store.cache_clear()
    config.get_settings.cache_clear()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """DFAD_HOME in a temporary folder; no other setting comes from outside the test.

    Set more with `monkeypatch.setenv("DFAD_…")` before the settings are first read.
    """
    for name in [n for n in os.environ if n.startswith("DFAD_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "home"
    monkeypatch.setenv("DFAD_HOME", str(folder))
    # Networks as small as the tests' gain nothing from more, and a busy machine punishes it.
    monkeypatch.setenv("DFAD_RUNNER_THREADS", "1")
    _forget_settings()
    yield folder
    _forget_settings()


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One migrated SQLite file, to be copied: migrating anew for each test costs more than the tests."""
    folder = tmp_path_factory.mktemp("migrated")
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in os.environ if n.startswith("DFAD_")]:
            patch.delenv(name)
        patch.setenv("DFAD_HOME", str(folder))
        _migrate()
    return folder / "dfad.sqlite3"


def _migrate() -> None:
    from app.migrate import upgrade

    _forget_settings()
    upgrade()
    _forget_settings()


@pytest.fixture
def database(home: Path, _migrated_sqlite: Path) -> str:
    """An empty, migrated SQLite database under `home`; its URL."""
    home.mkdir()
    target = home / "dfad.sqlite3"
    shutil.copy(_migrated_sqlite, target)
    return f"sqlite+pysqlite:///{target}"


def _missing(what: str) -> NoReturn:
    """Skip, or fail where the services must be there."""
    text = f"{what} is not installed on this machine"
    if REQUIRED:
        pytest.fail(text)
    pytest.skip(text)


@pytest.fixture(scope="session")
def missing() -> Callable[[str], None]:
    """Skips the test, or fails it where everything must be there."""
    return _missing


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """A PostgreSQL server with the migrated database `template`."""
    try:
        server = Postgres(durable=False)
    except ServiceMissing:
        _missing("PostgreSQL")
    try:
        server.execute("CREATE DATABASE template")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DFAD_DATABASE_URL", f"{server.server}/template")
            _migrate()
        yield server
    finally:
        server.close()


@pytest.fixture
def postgres(postgres_server: Postgres) -> Iterator[str]:
    """The URL of an empty, migrated PostgreSQL database of the test's own."""
    name = f"test_{uuid4().hex}"
    postgres_server.execute(f"CREATE DATABASE {name} TEMPLATE template")
    yield f"{postgres_server.server}/{name}"
    _forget_settings()
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def each_database(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The test runs on SQLite and on PostgreSQL; the URL of a migrated, empty database."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("database"))
    url = str(request.getfixturevalue("postgres"))
    monkeypatch.setenv("DFAD_DATABASE_URL", url)
    _forget_settings()
    return url


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A perceptron for 8x8 images with random weights, in a file that says all about itself."""
    import torch

    from dfad_core.contract.config import InputConfig
    from dfad_core.formats.safetensors import save_student
    from dfad_core.networks import build_classifier

    path = tmp_path_factory.mktemp("teacher") / "teacher.safetensors"
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        module = build_classifier("mlp8", num_classes=10, input_shape=(1, 8, 8), args={"width": 32})
    source = InputConfig((1, 8, 8))
    save_student(path, module, architecture="mlp8", args={"width": 32}, num_classes=10, input=source)
    return path


class StoredJobs:
    """Puts jobs for real teachers into the database, as the HTTP edge does, and looks at them."""

    def __init__(self, teacher: Path) -> None:
        self._teacher = teacher

    def teacher(self, data: bytes | None = None, *, inspect_in: timedelta = timedelta(), **spec: Any) -> str:
        """An uploaded teacher, by default the tiny one; its id."""
        from app.files.teacher_files import TeacherFile
        from app.platform.db import session_scope
        from app.platform.ids import new_id
        from app.storage import get_store
        from app.teachers.service import add_teacher

        artifact_id = new_id("art")
        stored = get_store().put(artifact_id, [self._teacher.read_bytes() if data is None else data])
        with session_scope() as session:
            file = TeacherFile(artifact_id, stored, "t")
            made = add_teacher(session, tenant_id="local", file=file, spec=spec, inspect_in=inspect_in)
            return str(made.id)

    def submit(self, teacher_id: str | None = None, **spec: Any) -> str:
        """A queued job of a few steps; its id."""
        from app.jobs import lifecycle
        from app.jobs.schemas import JobSpec
        from app.models import Job
        from app.platform.db import session_scope
        from app.platform.ids import new_id

        small = {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8}
        asked = {
            "student": {"architecture": "mlp8", "args": {"width": 8}},
            "budget": {"steps": 10},
            "training": small,
            **spec,
        }
        job = Job(
            id=new_id("job"),
            tenant_id="local",
            # Read by the job, and not by an inspection beside it.
            teacher_id=teacher_id or self.teacher(inspect_in=timedelta(hours=1)),
            spec=asked,
            resolved_spec=JobSpec.model_validate(asked).resolved(),
            labels={},
        )
        with session_scope() as session:
            lifecycle.submit(session, job)
        return job.id

    def row(self, job_id: str) -> Any:
        """The job as it is now."""
        from app.models import Job
        from app.platform.db import read_scope

        with read_scope() as session:
            return session.get_one(Job, job_id)

    def events(self, job_id: str) -> list[Any]:
        """Its events in order."""
        from sqlalchemy import select

        from app.models import JobEvent
        from app.platform.db import read_scope

        with read_scope() as session:
            query = select(JobEvent).where(JobEvent.job_id == job_id).order_by(JobEvent.seq)
            return list(session.scalars(query))

    def artifacts(self, job_id: str) -> dict[str, list[Any]]:
        """Its artifacts by kind, as far as clients see them, oldest first."""
        from sqlalchemy import select

        from app.models import Artifact
        from app.platform.db import read_scope

        found: dict[str, list[Any]] = {}
        with read_scope() as session:
            query = select(Artifact).where(Artifact.job_id == job_id, Artifact.published_at.is_not(None))
            for row in session.scalars(query.order_by(Artifact.created_at, Artifact.id)):
                found.setdefault(row.kind, []).append(row)
        return found

    def wait(self, job_id: str, until: Callable[[Any], bool], seconds: float = 60) -> Any:
        """The row once `until` holds for it."""
        deadline = time.monotonic() + seconds
        while not until(row := self.row(job_id)):
            if time.monotonic() > deadline:
                seen = [(e.type, e.data) for e in self.events(job_id)][-5:]
                pytest.fail(f"{job_id} stays {row.status}, attempt {row.attempt}, step {row.step}: {seen}")
            time.sleep(0.1)
        return row


@pytest.fixture
def stored_jobs(tiny_teacher: Path) -> StoredJobs:
    """Jobs in whichever database the test has set up."""
    return StoredJobs(tiny_teacher)


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Redis]:
    """An empty Redis of the test's own that can be killed, halted and started again, empty."""
    try:
        server = Redis(tmp_path, durable=False)
    except ServiceMissing:
        _missing("Redis")
    yield server
    server.kill()


@pytest.fixture
def redis(redis_server: Redis) -> str:
    """The URL of an empty Redis of the test's own."""
    return redis_server.url
