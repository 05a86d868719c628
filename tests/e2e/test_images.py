"""The commands that the images run, with what Compose gives them, as processes of this machine.

Commands, environment, secrets, health checks and the signal for the end are read from the Dockerfile and
from docker-compose.yml; only addresses and folders are exchanged. The processes write where the images may,
see the packages alone that the images have, and speak to a PostgreSQL and a Redis that ask for passwords.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from testing.processes import below, wait_until
from testing.services import Postgres, free_port
from tests.deploy.deployment import ROOT, compose, not_installed, stages

DEPLOY = ROOT / "tests" / "deploy"
#: Every sign that an address, a shell or a file of settings could take for its own.
PASSWORD = "p@ss/w:rd %41#?&=+\"'\\$HOME`é"
SMALL = {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8}


class Stack:
    """The services of docker-compose.yml, each started when it is asked for."""

    def __init__(self, folder: Path, server: Postgres, database: str) -> None:

        self.folder, self.api_port, self._redis_port = folder, free_port(), free_port()
        self._services, self._stages = compose()["services"], stages()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.server, self.role = server, database.rpartition("/")[2]
        self.secrets_folder = folder / "secrets"
        self.make_secrets()
        for name in ("database_password", "broker_password"):
            (self.secrets_folder / name).unlink()
            (self.secrets_folder / name).write_text(PASSWORD + "\n")
        self._exchanged = {
            "postgresql+psycopg://dfad@postgres/dfad": database,
            "redis://redis:6379/0": f"redis://127.0.0.1:{self._redis_port}/0",
            "redis-cli ": f"redis-cli -p {self._redis_port} ",
            "<<END\n": f"<<END\nport {self._redis_port}\nbind 127.0.0.1\nsave ''\n",
            "/run/secrets": str(self.secrets_folder),
        }

    def make_secrets(self) -> None:
        """Those that are missing."""
        script = str(ROOT / "deploy" / "make-secrets.sh")
        subprocess.run(["sh", script, str(self.secrets_folder)], check=True, timeout=20)

    def secret(self, name: str) -> str:
        """What a file of the secrets holds."""
        return (self.secrets_folder / name).read_text().rstrip("\n")

    def secrets(self) -> list[str]:
        """All of them."""
        return [self.secret(file.name) for file in self.secrets_folder.iterdir()]

    def _local(self, text: str, place: Path) -> str:
        for name in ("data", "tmp"):
            if text == f"/{name}" or text.startswith(f"/{name}/"):
                text = f"{place / name}{text.removeprefix(f'/{name}')}"
        for old, new in self._exchanged.items():
            text = text.replace(old, new)
        return text.replace("$$", "$")

    def popen(self, service: str, name: str = "", words: list[str] | None = None) -> subprocess.Popen[bytes]:
        """A service's command, or other words as if in its container."""
        about, place = self._services[service], self.folder / (name or service)
        for sub in ("data", "tmp"):
            (place / sub).mkdir(parents=True, exist_ok=True)
        target = about.get("build", {}).get("target")
        stage = self._stages.get(target)
        environment = {**(stage.env if stage else {}), **about.get("environment", {})}
        env = {key: self._local(str(value or ""), place) for key, value in environment.items()}
        env |= {"PATH": os.environ["PATH"], "TMPDIR": str(place / "tmp")}
        command = words or about["command"] or (stage.command("CMD") if stage else [])
        local = [self._local(word, place) for word in command]
        if stage is not None:
            extras = ("api", "s3", "otel") if target == "api" else ("engine", "worker", "s3", "otel")
            env |= {
                "PYTHONPATH": f"{DEPLOY / 'without'}:{ROOT}",
                "NOT_INSTALLED": ",".join(not_installed(*extras)),
            }
            env |= {"DFAD_PORT": str(self.api_port), "DFAD_RUNNER_THREADS": "1", "DFAD_REVISION": ""}
            assert local[0] == "python"
            local[0] = sys.executable
        wall = [sys.executable, str(DEPLOY / "container.py"), str(place / "data"), str(place / "tmp"), "--"]
        with (self.folder / f"{name or service}.log").open("ab") as log:
            return subprocess.Popen([*wall, *local], cwd=place / "data", env=env, stdout=log, stderr=log)

    def start(self, service: str, name: str = "") -> subprocess.Popen[bytes]:
        """Let it run until the end of the test."""
        process = self.processes[name or service] = self.popen(service, name)
        return process

    def healthy(self, service: str, name: str = "") -> bool:
        """Whether its health check, Compose's or else the image's, passes now."""
        test = self._services[service].get("healthcheck", {}).get("test")
        if test is None:
            words = self._stages[self._services[service]["build"]["target"]].command("HEALTHCHECK")
        else:
            words = ["sh", "-c", test[1]] if test[0] == "CMD-SHELL" else test[1:]
        return self.popen(service, name, words).wait(30) == 0

    def stop(self, service: str, name: str = "") -> int:
        """Its exit code after the signal that its container gets, within the time that it has."""
        about = self._services[service]
        stage = self._stages.get(about.get("build", {}).get("target"))
        number = signal.Signals[
            about.get("stop_signal") or (stage.said["STOPSIGNAL"] if stage else "SIGTERM")
        ]
        process = self.processes.pop(name or service)
        process.send_signal(number)
        return process.wait(int(about["stop_grace_period"].removesuffix("s")))

    def close(self) -> None:
        """Nothing stays behind; what was said is shown by pytest when the test failed."""
        for process in self.processes.values():
            for pid in [*below(process.pid), process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            process.wait()
        for log in self.folder.glob("*.log"):
            print(f"--- {log.name}\n{log.read_text()[-3000:]}")


@pytest.fixture
def database(postgres_server: Postgres):
    """An empty database whose user has to show a password."""
    from sqlalchemy import create_engine, text

    engine = create_engine(f"{postgres_server.server}/postgres", isolation_level="AUTOCOMMIT")
    name = f"images_{os.getpid()}"
    with engine.connect() as connection:
        rules = connection.scalar(text("SELECT pg_read_file(current_setting('hba_file'))"))
        asked = f"host {name} {name} 127.0.0.1/32 scram-sha-256\n{rules}"
        path = connection.scalar(text("SELECT current_setting('hba_file')"))
        # Once as text and then through COPY's csv with a delimiter and quote that do not occur.
        connection.execute(text("CREATE TEMP TABLE rules (line text)"))
        for line in asked.splitlines():
            connection.execute(text("INSERT INTO rules VALUES (:line)"), {"line": line})
        connection.execute(
            text(f"COPY rules TO '{path}' WITH (FORMAT csv, DELIMITER E'\\x01', QUOTE E'\\x02')")
        )
        quoted = connection.scalar(text("SELECT quote_literal(:word)"), {"word": PASSWORD})
        connection.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD {quoted.replace('%', '%%')}")
        connection.execute(text(f"CREATE DATABASE {name} OWNER {name}"))
        connection.execute(text("SELECT pg_reload_conf()"))
    engine.dispose()
    host = postgres_server.server.rpartition("@")[2]
    yield f"postgresql+psycopg://{name}@{host}/{name}"
    postgres_server.execute(f"DROP DATABASE {name} WITH (FORCE)")
    postgres_server.execute(f"DROP ROLE {name}")


@pytest.fixture
def stack(home, tmp_path, postgres_server: Postgres, database, missing):
    if shutil.which("redis-server") is None:
        missing("Redis")
    made = Stack(tmp_path, postgres_server, database)
    yield made
    made.close()


@pytest.mark.services
@pytest.mark.timeout(150)
def test_compose_up_with_two_workers(stack, tiny_teacher):
    """Migrated, started, a job through HTTP, and ended, as `docker compose up --scale worker=2` does it."""
    stack.start("redis")
    assert wait_until(lambda: stack.healthy("redis"))
    assert stack.popen("migrate").wait(60) == 0
    stack.start("api")
    assert wait_until(lambda: stack.healthy("api"))
    for name in ("worker-1", "worker-2"):
        stack.start("worker", name)
    headers = {"Authorization": f"Bearer {stack.secret('api_key')}"}
    url = f"http://127.0.0.1:{stack.api_port}"
    with httpx.Client(base_url=url, headers=headers, trust_env=False) as http:
        assert http.get("/jobs", headers={"Authorization": ""}).status_code == 401
        made = http.post("/keys", json={"name": "ci", "tenant_id": "vision"})
        assert made.status_code == 201, made.text
        of_tenant = {"Authorization": f"Bearer {made.json()['key']}"}
        spec = {
            "student": {"architecture": "mlp8", "args": {"width": 8}},
            "budget": {"steps": 10},
            "training": SMALL,
        }
        parts = {"spec": (None, json.dumps(spec), "application/json"), "teacher": tiny_teacher.read_bytes()}
        sent = http.post("/jobs", files=parts, headers=of_tenant)
        assert sent.status_code == 201, sent.text
        job = f"/jobs/{sent.json()['id']}"
        assert wait_until(lambda: http.get(job, headers=of_tenant).json()["finished_at"], 90)
        assert http.get(job, headers=of_tenant).json()["status"] == "succeeded"
        assert http.get(f"{job}/student", headers=of_tenant).content
        assert wait_until(lambda: "dfad_workers 2.0" in http.get("/metrics").text, 60)
        assert stack.healthy("worker", "worker-1")
        assert told(stack) == []
        assert [stack.stop("worker", name) for name in ("worker-1", "worker-2")] == [0, 0]
        assert leftovers(stack.folder) == []
        assert stack.stop("api") == 0

        # All its secrets are changed at once: what the pepper guards is void, and the jobs are there.
        change_secrets(stack)
        stack.start("api")
        assert wait_until(lambda: stack.healthy("api"))
        assert http.get("/keys").status_code == 401
        assert http.get(job, headers=of_tenant).status_code == 401
        http.headers["Authorization"] = f"Bearer {stack.secret('api_key')}"
        tenant_key = http.post("/keys", json={"name": "ci", "tenant_id": "vision"}).json()["key"]
        again = http.get(job, headers={"Authorization": f"Bearer {tenant_key}"})
        assert again.json()["status"] == "succeeded", again.text
    assert stack.stop("api") == 0
    assert stack.stop("redis") == 0


def change_secrets(stack: Stack) -> None:
    """As docs/operations.md says: new files, and the database is told of its own."""
    for name in ("api_key", "key_pepper", "database_password"):
        (stack.secrets_folder / name).unlink()
    stack.make_secrets()
    stack.server.execute(f"ALTER ROLE {stack.role} PASSWORD '{stack.secret('database_password')}'")


def told(stack: Stack) -> list[str]:
    """Processes in whose environment or command line a secret stands, and logs in which one does."""
    found = []
    for process in stack.processes.values():
        for pid in [process.pid, *below(process.pid)]:
            for what in ("environ", "cmdline"):
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    text = Path(f"/proc/{pid}/{what}").read_bytes().decode(errors="replace")
                    found += [f"{what}: {text}" for secret in stack.secrets() if secret in text]
    for log in stack.folder.glob("*.log"):
        found += [log.name for secret in stack.secrets() if secret in log.read_text()]
    return found


def leftovers(folder: Path) -> list[str]:
    """What the workers left in their scratch space."""
    return [str(path) for path in folder.glob("worker-*/data/scratch/*")]
