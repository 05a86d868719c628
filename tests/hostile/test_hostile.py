"""Every hostile file through the real service: its code, and what must not have happened meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from testing.services import free_port
from tests.hostile.files import CASES, OWN_ARCHITECTURE

ROOT = Path(__file__).resolve().parents[2]
MEMORY_BYTES = 256 * 2**20
"""That the server may grow by, whatever it is sent."""

ASKING = """
import http.client, select, sys, time, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
while not select.select([sys.stdin], [], [], 0.1)[0]:
    begun, status = time.monotonic(), 0
    try:
        server = http.client.HTTPConnection(url.netloc, timeout=5)
        server.request("GET", url.path)
        status = server.getresponse().status
    except OSError:
        pass
    print(1000 * (time.monotonic() - begun) if status == 200 else -1, flush=True)
"""


class Service:
    """An API and a worker, with somebody who asks after the API's health all the time."""

    def __init__(self, home: Path) -> None:
        self.home, port = home, free_port()
        self.url = f"http://127.0.0.1:{port}"
        environment = {
            **os.environ, "PYTHONPATH": str(ROOT), "DFAD_HOME": str(home / "dfad"), "DFAD_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }  # fmt: skip
        for name in ("DFAD_DATABASE_URL", "DFAD_BROKER_URL", "DFAD_API_KEY"):
            environment.pop(name, None)
        subprocess.run([sys.executable, "-m", "app.migrate"], env=environment, check=True, cwd=home)
        with (home / "log").open("wb") as log:
            self._processes = [
                subprocess.Popen([sys.executable, "-m", m], env=environment, stdout=log, stderr=log, cwd=home)
                for m in ("app", "worker")
            ]
        for _ in range(600):
            if self._healthy():
                break
            time.sleep(0.05)
        self.idle_bytes = self.memory("VmRSS")
        # A process of its own: whoever makes the files keeps other threads of his waiting.
        self._asking = subprocess.Popen(
            [sys.executable, "-c", ASKING, f"{self.url}/healthz"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def _healthy(self) -> bool:
        try:
            return httpx.get(f"{self.url}/healthz", timeout=5).status_code == 200
        except httpx.HTTPError:
            return False

    def health(self) -> list[float]:
        """Ends the asking: how long each answer took in milliseconds, -1 for one that did not come."""
        out, _ = self._asking.communicate("\n", timeout=60)
        return [float(line) for line in out.split()]

    def memory(self, what: str) -> int:
        """Of the API, in bytes."""
        status = Path(f"/proc/{self._processes[0].pid}/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith(what)).split()[1])

    def code(self, content: bytes, *, own: bool = False) -> str:
        """What becomes of an upload: its refusal's code, its error's, or `ready`."""
        files = {"teacher": ("t", content), "spec": (None, "{}" if own else '{"architecture": "cnn8"}')}
        answer = httpx.post(f"{self.url}/teachers", files=files, timeout=60)
        if answer.status_code == 422:
            return str(answer.json()["code"])
        assert answer.status_code == 201, answer.text
        for _ in range(600):
            teacher = httpx.get(f"{self.url}/teachers/{answer.json()['id']}", timeout=60).json()
            if teacher["status"] != "inspecting":
                return str(teacher["status"] if teacher["error"] is None else teacher["error"]["code"])
            time.sleep(0.05)
        return "still inspecting"

    def close(self) -> None:
        """End both processes."""
        self._asking.kill()
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait(timeout=60)

    @property
    def alive(self) -> bool:
        """Whether both processes still run."""
        return all(process.poll() is None for process in self._processes)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running = Service(tmp_path_factory.mktemp("hostile"))
    yield running
    running.close()


@pytest.mark.parametrize("name", CASES)
def test_what_becomes_of_it(service: Service, tmp_path: Path, name: str) -> None:
    make, code = CASES[name]
    content = make(tmp_path)
    assert service.code(content, own=name in OWN_ARCHITECTURE) == code


def test_the_service_is_as_it_was(service: Service) -> None:
    assert service.alive
    assert service.code(CASES["double_precision"][0](service.home)) == "ready"
    answers = sorted(service.health())
    slowest = ", ".join(f"{milliseconds:.0f}" for milliseconds in answers[-5:])
    print(f"\n{len(answers)} answers of /healthz: the slowest took {slowest} ms")
    assert answers[0] > 0
    assert service.memory("VmHWM") - service.idle_bytes < MEMORY_BYTES
    assert {p.name for p in service.home.iterdir()} == {"dfad", "log"}
    assert list((service.home / "dfad" / "scratch").iterdir()) == []
    assert "sprung" not in "".join(str(p) for p in service.home.rglob("*"))
