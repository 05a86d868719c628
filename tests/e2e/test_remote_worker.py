"""Workers without database and broker, over a real server: what a worker with them survives, they do."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.e2e.conftest import ROOT, SHORT, Workers
from tests.e2e.running_service import end, start

OPERATOR = {"Authorization": "Bearer the-operators-own"}
SMALL = {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8}
LONG = {"budget": {"train_seconds": 4, "steps": 1_000_000}, "training": SMALL}


class RemoteWorkers(Workers):
    """`dfad worker` processes whose environment has neither a database nor a broker."""

    url = key = ""

    def start(self, module: str = "worker", **more: str) -> subprocess.Popen[bytes]:
        """One more, in a folder of its own."""
        home = self._log.parent / f"worker-home-{len(list(self._log.parent.iterdir()))}"
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DFAD_")}
        own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DFAD_HOME": str(home)}
        own |= {name: SHORT[name] for name in ("DFAD_CHECKPOINT_SECONDS", "DFAD_RUNNER_THREADS")}
        own |= {"DFAD_SERVER": self.url, "DFAD_API_KEY": self.key}
        command = [sys.executable, "-m", "dfad_client", "worker"]
        if module != "worker":
            command = [sys.executable, "-m", module]
        with self._log.open("ab") as out:
            process = subprocess.Popen(command, cwd=home, env={**kept, **own, **more}, stdout=out, stderr=out)
        self._running.append(process)
        return process


class Server:
    """`python -m app` that can be killed and started again at the same address."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.url, self.processes = start(home, "app", **self._settings())
        self.port = int(self.url.rpartition(":")[2])

    def _settings(self) -> dict[str, str]:
        return {**SHORT, "DFAD_API_KEY": "the-operators-own"}

    def kill(self) -> None:
        """SIGKILL."""
        for process in self.processes:
            process.kill()
            process.wait()

    def start(self) -> None:
        """Once more."""
        _, self.processes = start(self._home, "app", port=self.port, **self._settings())

    def key(self, *scopes: str, tenant: str | None = None) -> str:
        """A new key."""
        asked = {"name": "w", "scopes": scopes} | ({"tenant_id": tenant} if tenant else {})
        made = httpx.post(f"{self.url}/keys", json=asked, headers=OPERATOR, trust_env=False)
        assert made.status_code == 201, made.text
        return str(made.json()["key"])


@pytest.fixture
def server(database, short_leases, home):
    """A server with the operator's key; no worker of its own."""
    made = Server(home)
    yield made
    end(made.processes)
    print((home / "log").read_text()[-4000:])


@pytest.fixture
def remote(server, tmp_path):
    """A maker of workers that reach the server alone."""
    made = RemoteWorkers(tmp_path / "remote.log")
    made.url, made.key = server.url, server.key("worker")
    yield made
    made.close()
    print(made.log())


def kinds(events, kind):
    return [e.data for e in events if e.type == kind]


def test_a_job_and_an_inspection_of_a_worker_without_database(remote, stored_jobs):
    worker = remote.start()
    assert not [
        name for name in Path(f"/proc/{worker.pid}/environ").read_text().split("\0") if "DATABASE" in name
    ]
    teacher = stored_jobs.teacher()
    job_id = stored_jobs.submit(teacher, exports=["safetensors", "onnx"])
    row = stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 120)
    assert (row.status, row.attempt, row.step) == ("succeeded", 1, 10)
    kept = stored_jobs.artifacts(job_id)
    expected = {"student": 1, "student_onnx": 1, "report": 1, "manifest": 1}
    assert {k: len(v) for k, v in kept.items() if k != "samples"} == expected
    phases = [data["phase"] for data in kinds(stored_jobs.events(job_id), "phase")]
    assert phases == ["loading", "warming_up", "distilling", "evaluating", "exporting"]
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
