"""Worker processes that are started, halted and killed one by one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from testing.processes import below, is_engine_runner, is_light_runner, kill_all, signal_all

ROOT = Path(__file__).resolve().parents[1]
SHORT = {
    "DFAD_LEASE_SECONDS": "3",
    "DFAD_REPUBLISH_SECONDS": "2",
    "DFAD_RETRY_BACKOFF_SECONDS": "0.1",
    "DFAD_CHECKPOINT_SECONDS": "0.3",
}
"""Seconds instead of minutes until a dead worker's job is taken up again."""
LIGHT = "testing.light_worker"
"""A worker whose runners have no engine."""


class Workers:
    """Starts `python -m worker` processes with this process's settings, and ends them in various ways."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, module: str = "worker", **more: str) -> subprocess.Popen[bytes]:
        """One more worker; `module` may be LIGHT."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}
        with self._log.open("ab") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", module],
                cwd=self._log.parent,
                env=environment,
                stdout=out,
                stderr=out,
            )
        self._running.append(process)
        return process

    def signal(self, worker: subprocess.Popen[bytes], number: int) -> None:
        """The same signal to every process of the worker."""
        signal_all(worker.pid, number)

    def runners(self, worker: subprocess.Popen[bytes]) -> list[int]:
        """Process ids of its runners."""
        return [pid for pid in below(worker.pid) if is_engine_runner(pid)]

    def light_runners(self, worker: subprocess.Popen[bytes]) -> list[int]:
        """Process ids of its runners without an engine."""
        return [pid for pid in below(worker.pid) if is_light_runner(pid)]

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """SIGKILL to every process of the worker."""
        kill_all(worker.pid)
        worker.wait(timeout=20)
        self._running.remove(worker)

    def close(self) -> None:
        """End all; nothing of them may stay behind."""
        for worker in list(self._running):
            self.kill(worker)

    def log(self) -> str:
        """The end of what they wrote."""
        return self._log.read_text()[-6000:] if self._log.exists() else ""
