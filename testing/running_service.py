"""A real server and a real worker, as their own processes, for a whole module of tests."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from testing.services import free_port

ROOT = Path(__file__).resolve().parents[1]
READY_SECONDS = 90.0
Processes = list[subprocess.Popen[bytes]]


def clean_environment(**settings: str) -> dict[str, str]:
    """This process's, without the settings of another installation and with one thread a network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DFAD_")}
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DFAD_RUNNER_THREADS": "1"}
    return {**kept, **own, **settings}


def start(home: Path, *modules: str, port: int | None = None, **settings: str) -> tuple[str, Processes]:
    """The address and the processes of a service that answers, on SQLite and the embedded broker in `home`.

    A server alone is waited for until it is alive, one with a worker until it is ready.
    """
    port = port or free_port()
    environment = clean_environment(DFAD_HOME=str(home), DFAD_PORT=str(port), **settings)
    subprocess.run([sys.executable, "-m", "app.migrate"], env=environment, check=True, cwd=home)
    log = home / "log"
    with log.open("ab") as out:
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", module], env=environment, stdout=out, stderr=out, cwd=home
            )
            for module in modules
        ]
    url = f"http://127.0.0.1:{port}"
    wanted = f"{url}/readyz" if "worker" in modules else f"{url}/healthz"
    deadline = time.monotonic() + READY_SECONDS
    while not _answers(wanted):
        if time.monotonic() > deadline:
            end(processes)
            raise AssertionError(log.read_text()[-3000:])
        time.sleep(0.1)
    return url, processes


def end(processes: Processes) -> None:
    """Ask them to end, the last one first, and wait for it."""
    for process in reversed(processes):
        process.terminate()
    for process in processes:
        process.wait(timeout=60)


@contextmanager
def running_service(home: Path, **settings: str) -> Iterator[str]:
    """The address of a server that is ready, with a worker."""
    url, processes = start(home, "app", "worker", port=None, **settings)
    try:
        yield url
    finally:
        end(processes)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False
