"""Real worker processes with short leases."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

#: A dead worker's job is taken up again within seconds instead of a minute and a half.
SHORT = {
    "DFAD_LEASE_SECONDS": "3",
    "DFAD_REPUBLISH_SECONDS": "2",
    "DFAD_RETRY_BACKOFF_SECONDS": "0.1",
    "DFAD_CHECKPOINT_SECONDS": "0.3",
    "DFAD_RUNNER_THREADS": "1",
}


def descendants(pid: int) -> list[int]:
    """All processes below `pid`, parents first."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if fields[0] != "Z":
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [pid]
    while todo:
        below = parents.get(todo.pop(), [])
        found += below
        todo += below
    return found


class Workers:
    """Starts `python -m worker` processes and ends them in various ways."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, module: str = "worker", **more: str) -> subprocess.Popen[bytes]:
        """One more worker, with the test's settings; that of `benchmarks.chaos_worker` has no engine."""
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
        for pid in [worker.pid, *descendants(worker.pid)]:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def runners(self, worker: subprocess.Popen[bytes]) -> list[int]:
        """Process ids of its runners."""
        found = []
        for pid in descendants(worker.pid):
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if name == "dfad-runner":
                found.append(pid)
        return found

    def light_runners(self, worker: subprocess.Popen[bytes]) -> list[int]:
        """Process ids of its runners without an engine."""
        found = []
        for pid in descendants(worker.pid):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if b"light_runner" in command:
                found.append(pid)
        return found

    def kill(self, worker: subprocess.Popen[bytes]) -> None:
        """SIGKILL to every process of the worker, as an out-of-memory killer or a power cut does."""
        tree = [worker.pid, *descendants(worker.pid)]
        for pid in tree:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        worker.wait(timeout=20)
        self._running.remove(worker)

    def close(self) -> None:
        """End all; nothing of them may stay behind."""
        for worker in list(self._running):
            self.kill(worker)

    def log(self) -> str:
        """The end of what they wrote."""
        return self._log.read_text()[-6000:] if self._log.exists() else ""


@pytest.fixture
def short_leases(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of this process and of the workers it starts."""
    from app.platform.settings import get_settings

    for name, value in SHORT.items():
        monkeypatch.setenv(name, value)
    get_settings.cache_clear()


@pytest.fixture
def workers(short_leases: None, tmp_path: Path) -> Iterator[Workers]:
    """A maker of workers; they are gone after the test."""
    made = Workers(tmp_path / "worker.log")
    yield made
    made.close()
    print(made.log())  # shown by pytest when the test failed


def wait_until(holds, seconds: float = 30) -> bool:
    """Whether `holds()` became true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return False
