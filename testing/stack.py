"""The real service as processes that can be killed one by one: API, workers, broker, database."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from testing.processes import kill_all
from testing.services import Postgres, Redis, free_port
from testing.workers import LIGHT, SHORT

ROOT = Path(__file__).resolve().parents[1]
RUNNERS = {"light": LIGHT, "engine": "worker"}

Part = tuple[str | None, bytes | str] | tuple[str | None, bytes | str, str]
"""A part of a multipart body: file name, content and, if it is said, the media type."""
OWN = ("DFAD_RUNNER_THREADS", "DFAD_CHECKPOINT_SECONDS")
"""Settings that a worker has though it has no database."""


class Stack:
    """Starts everything, starts again what died, ends everything."""

    def __init__(
        self,
        folder: Path,
        *,
        full: bool,
        workers: int = 0,
        runner: str = "light",
        short: bool = False,
        remote: bool = False,
        more: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.folder, self.redis, self.postgres = folder, None, None
        #: For temporary files of its processes.
        self.temporary = folder / "tmp"
        self.temporary.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        settings = {"DFAD_HOME": str(folder / "home"), "DFAD_MAX_ATTEMPTS": "30", **(SHORT if short else {})}
        settings |= {"DFAD_RUNNER_THREADS": "1", "OMP_NUM_THREADS": "1", "DFAD_PORT": str(self.port)}
        if full:
            self.redis, self.postgres = Redis(folder / "redis"), Postgres()
            settings |= {"DFAD_BROKER_URL": self.redis.url, "DFAD_DATABASE_URL": self.postgres.url}
        settings |= more
        for name in [n for n in os.environ if n.startswith("DFAD_")]:
            del os.environ[name]
        os.environ.update(settings)  # for this process too: it looks into the database
        _forget_settings()
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(self.temporary)}
        subprocess.run(
            [sys.executable, "-m", "app.migrate"], cwd=ROOT, env=self._environment, check=True, timeout=120
        )
        self._commands = {"api": ["-m", "app"]}
        self._commands |= {f"worker{n}": ["-m", RUNNERS[runner]] for n in range(workers)}
        #: Of clients; a server without keys needs none.
        self.headers: dict[str, str] = {}
        self._environments: dict[str, dict[str, str]] = {}
        if remote:
            self._without_database()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.keep_alive()

    def _without_database(self) -> None:
        """Let the workers reach the server alone; one more, which takes no job, has the database to sweep."""
        from app.models.tenancy import ALL_TENANTS

        client, worker = _key("local", "read", "write"), _key(ALL_TENANTS, "worker")
        self.headers = {"Authorization": f"Bearer {client}"}
        for name in [name for name in self._commands if name != "api"]:
            home = self.folder / name
            home.mkdir()
            kept = {n: v for n, v in self._environment.items() if not n.startswith("DFAD_")}
            own = {"DFAD_HOME": str(home), "DFAD_SERVER": self.url, "DFAD_API_KEY": worker}
            own |= {n: self._environment[n] for n in OWN if n in self._environment}
            self._environments[name] = kept | own
        self._commands["sweeper"] = ["-m", "worker"]
        self._environments["sweeper"] = self._environment | {"DFAD_WORKER_DEVICES": '["cuda"]'}

    def keep_alive(self) -> None:
        """Start whatever does not run."""
        for name, command in self._commands.items():
            process = self.processes.get(name)
            if process is None or process.poll() is not None:
                with (self.folder / f"{name}.log").open("ab") as log:
                    self.processes[name] = subprocess.Popen(
                        [sys.executable, *command],
                        cwd=ROOT,
                        env=self._environments.get(name, self._environment),
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers that run."""
        return [p.pid for n, p in self.processes.items() if n != "api" and p.poll() is None]

    def close(self) -> None:
        """End everything; nothing stays behind."""
        for process in self.processes.values():
            kill_all(process.pid)
            process.wait(timeout=20)
        if self.redis is not None:
            self.redis.kill()
        if self.postgres is not None:
            self.postgres.close()


def _forget_settings() -> None:
    """An earlier stack's are not this one's."""
    from app import storage
    from app.platform import db
    from app.platform import settings as config

    db.dispose_engine()
    storage.get_store.cache_clear()
    config.get_settings.cache_clear()


def _key(tenant: str, *scopes: str) -> str:
    """A key of the service, straight into its database."""
    from app.access.keys.principal import OPERATOR
    from app.access.keys.service import create_key
    from app.models.tenancy import as_system
    from app.platform.db import session_scope

    about = {"name": "chaos", "scopes": list(scopes), "expires_at": None}
    with as_system(), session_scope() as session:
        return create_key(session, OPERATOR, tenant_id=tenant, **about)[1]  # type: ignore[arg-type]


def wait_until_ready(url: str, seconds: float = 60) -> None:
    """Until the API answers. RuntimeError if it does not."""
    import httpx

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{url}/healthz").status_code == 200:
                return
        time.sleep(0.2)
    raise RuntimeError("the API does not answer")
