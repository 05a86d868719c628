"""MLflow's tracking server with one run to poll, for comparison."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import httpx

from testing.services import free_port

START_SECONDS = 180.0
API = "/api/2.0/mlflow"


class Mlflow:
    """`mlflow server` with its own number of processes, over the database that is given."""

    def __init__(self, program: str, folder: Path, database_url: str | None) -> None:
        folder.mkdir(parents=True)
        store = database_url or f"sqlite:///{folder}/mlflow.db"
        self.port = free_port()
        command = [program, "server", "--backend-store-uri", store, "--port", str(self.port)]
        command += ["--artifacts-destination", str(folder / "artifacts")]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, start_new_session=True
            )
        self.pid = self._process.pid
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=5).status_code == 200:
                    return
            except httpx.HTTPError:
                time.sleep(0.5)
        raise RuntimeError("MLflow did not start")

    def run_path(self) -> str:
        """The path of a get-run call: a run with five metrics, parameters and tags."""
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}{API}", timeout=120) as client:

            def post(path: str, **asked: object) -> dict[str, dict[str, dict[str, str]]]:
                answer = client.post(path, json=asked)
                answer.raise_for_status()
                return answer.json()  # type: ignore[no-any-return]

            experiment = post("/experiments/create", name="load")["experiment_id"]
            tags = [{"key": f"tag{n}", "value": "x"} for n in range(5)]
            run = post("/runs/create", experiment_id=experiment, start_time=1, tags=tags)["run"]
            run_id = run["info"]["run_id"]
            for n in range(5):
                post("/runs/log-metric", run_id=run_id, key=f"m{n}", value=0.5, timestamp=1, step=1)
                post("/runs/log-parameter", run_id=run_id, key=f"p{n}", value="5")
        return f"{API}/runs/get?run_id={run_id}"

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def version(program: str) -> str:
    """Of MLflow."""
    told = subprocess.run([program, "--version"], check=True, capture_output=True, text=True, timeout=120)
    return told.stdout.split()[-1]
