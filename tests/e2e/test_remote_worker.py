"""Workers without database and broker, over a real server: what a worker with them survives, they do."""

import os
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from testing.processes import wait_until
from testing.running_service import end, start
from testing.workers import ROOT, SHORT, Workers

pytestmark = pytest.mark.timeout(400)
OPERATOR = {"Authorization": "Bearer the-operators-own"}
SMALL = {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8}
LONG = {"budget": {"train_seconds": 6, "steps": 1_000_000}, "training": SMALL}


class RemoteWorkers(Workers):
    """`dfad worker` processes whose environment has neither a database nor a broker."""

    url = key = ""

    def start(self, module: str = "worker", **more: str) -> subprocess.Popen[bytes]:
        """One more, in a folder of its own."""
        home = self._log.parent / f"worker-home-{len(list(self._log.parent.iterdir()))}"
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DFAD_")}
        own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DFAD_HOME": str(home)}
        own |= {"DFAD_CHECKPOINT_SECONDS": SHORT["DFAD_CHECKPOINT_SECONDS"], "DFAD_RUNNER_THREADS": "1"}
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

    def __init__(self, home: Path, **more: str) -> None:
        self._home, self._more = home, more
        self.url, self.processes = start(home, "app", **self._settings())
        self.port = int(self.url.rpartition(":")[2])

    def _settings(self) -> dict[str, str]:
        return {**SHORT, "DFAD_API_KEY": "the-operators-own", **self._more}

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
def server(database, short_leases, home, request):
    """A server with the operator's key, and the settings of its parameter; no worker of its own."""
    made = Server(home, **getattr(request, "param", {}))
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
    environment = Path(f"/proc/{worker.pid}/environ").read_text()
    assert "DFAD_SERVER" in environment
    assert "DFAD_DATABASE" not in environment
    assert "DFAD_BROKER" not in environment
    teacher = stored_jobs.teacher()
    job_id = stored_jobs.submit(teacher, exports=["safetensors", "onnx"])
    row = stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 200)
    assert (row.status, row.attempt, row.step) == ("succeeded", 1, 10)
    kept = stored_jobs.artifacts(job_id)
    expected = {"student": 1, "student_onnx": 1, "report": 1, "manifest": 1}
    assert {k: len(v) for k, v in kept.items() if k != "samples"} == expected
    phases = [data["phase"] for data in kinds(stored_jobs.events(job_id), "phase")]
    assert phases == ["loading", "warming_up", "distilling", "evaluating", "exporting"]
    home = Path(os.readlink(f"/proc/{worker.pid}/cwd"))
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=30) == 0
    assert [path.name for path in home.iterdir()] == ["scratch"], "no database and no broker of its own"
    assert list((home / "scratch").iterdir()) == []


def test_a_killed_worker_and_another_that_finishes(remote, stored_jobs):
    """The server notices the lapsed lease: there is no worker that holds the database."""
    job_id = stored_jobs.submit(device="cpu", **LONG)
    first = remote.start()
    stored_jobs.wait(job_id, lambda row: "checkpoint" in stored_jobs.artifacts(job_id), 90)
    remote.kill(first)
    saved = stored_jobs.artifacts(job_id)["checkpoint"][-1].step
    assert stored_jobs.row(job_id).status == "running"

    remote.start()
    row = stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 200)
    assert (row.status, row.attempt) == ("succeeded", 2)
    events = stored_jobs.events(job_id)
    assert [e.data["reason"] for e in events if e.type == "job.requeued"] == ["lease expired"]
    assert [n["message"] for n in kinds(events, "note") if n["code"] == "resumed"] == [
        f"goes on from step {saved}"
    ]
    kept = stored_jobs.artifacts(job_id)
    assert len(kept["student"]) == len(kept["report"]) == 1
    assert "checkpoint" not in kept


@pytest.mark.parametrize("server", [{"DFAD_LEASE_SECONDS": "60"}], indirect=True)
def test_a_server_that_is_killed_costs_no_attempt(remote, server, stored_jobs):
    """It comes back within the lease: the attempt goes on, and nothing is told twice."""
    job_id = stored_jobs.submit(**LONG)
    remote.start()
    stored_jobs.wait(job_id, lambda row: row.step >= 1, 90)
    server.kill()
    server.start()
    row = stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 200)
    assert (row.status, row.attempt) == ("succeeded", 1)
    events = stored_jobs.events(job_id)
    steps = [data["step"] for data in kinds(events, "progress") if "phase" not in data]
    assert len(steps) == len(set(steps))
    assert len(kinds(events, "job.succeeded")) == 1
    assert len(stored_jobs.artifacts(job_id)["student"]) == 1


def test_a_worker_halted_past_its_lease_is_fenced(remote, stored_jobs, workers):
    job_id = stored_jobs.submit(**LONG)
    worker = remote.start()
    stored_jobs.wait(job_id, lambda row: row.step >= 1, 90)
    remote.signal(worker, signal.SIGSTOP)
    workers.start()  # it reaps, and takes the job up
    stored_jobs.wait(job_id, lambda row: row.attempt == 2, 60)
    remote.signal(worker, signal.SIGCONT)
    row = stored_jobs.wait(job_id, lambda row: row.finished_at is not None, 200)
    assert (row.status, row.attempt) == ("succeeded", 2)
    assert wait_until(lambda: remote.runners(worker) == [])
    kept = stored_jobs.artifacts(job_id)
    assert len(kept["student"]) == len(kept["report"]) == 1
    assert len(kinds(stored_jobs.events(job_id), "job.succeeded")) == 1


def test_cancel_pause_and_sigterm(remote, server, stored_jobs):
    teacher = stored_jobs.teacher(inspect_in=timedelta(hours=1))
    forever = {"budget": {"steps": 1_000_000}, "training": SMALL}
    worker = remote.start()

    def ask(what, job_id):
        asked = httpx.post(f"{server.url}/jobs/{job_id}/{what}", headers=OPERATOR, trust_env=False)
        assert asked.status_code < 300, asked.text

    cancelled = stored_jobs.submit(teacher, **forever)
    stored_jobs.wait(cancelled, lambda row: row.step >= 1, 90)
    ask("cancel", cancelled)
    assert stored_jobs.wait(cancelled, lambda row: row.finished_at is not None, 60).status == "cancelled"
    assert [a.partial for a in stored_jobs.artifacts(cancelled)["student"]] == [True]

    other = stored_jobs.submit(teacher, **forever)
    stored_jobs.wait(other, lambda row: row.step >= 1, 90)
    ask("pause", other)
    assert stored_jobs.wait(other, lambda row: row.status == "paused", 60).attempt == 0
    ask("resume", other)
    stored_jobs.wait(other, lambda row: row.status == "running" and row.phase == "distilling", 90)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=60) == 0
    row = stored_jobs.row(other)
    assert (row.status, row.attempt, row.lease_owner) == ("queued", 0, None)
    assert "checkpoint" in stored_jobs.artifacts(other)


def test_a_key_of_another_scope_ends_the_worker(remote, server):
    remote.key = server.key("read", "write")
    assert remote.start().wait(timeout=60) == 1
    assert "the server refuses the key" in remote.log()
