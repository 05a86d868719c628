"""A disk that is really full: 507, what was there is intact, and smaller things still fit.

Guard: bytes that could not be written whole are forgotten (`Writer.abort`), and the refusal has a name.
Tried: without the abort the half-written file keeps its place, and the last upload is refused, too.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from testing.services import free_port

ROOT = Path(__file__).resolve().parents[2]
SPEC = '{"student": {"architecture": "mlp8"}}'
MIB = 2**20
FITS = {"filesystem": 8 * MIB, "database": 2 * MIB}
"""What must fit once there is room again; SQLite needs some of it for its log."""


@pytest.fixture(params=["filesystem", "database"])
def small_disk(request: pytest.FixtureRequest, home: Path, tmp_path: Path) -> Iterator[tuple[str, Path, int]]:
    """A server whose home is a disk of 24 MiB, mounted for it alone, and that home as seen from here."""
    home.mkdir()
    serve = f"{sys.executable} -m app.migrate && exec {sys.executable} -m app"
    inside = f"mount -t tmpfs -o size=24m small {home} && {serve}"
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", *as_root, "--mount", "sh", "-c"]
    try:
        possible = f"mount -t tmpfs small {home}"
        subprocess.run([*command, possible], check=True, capture_output=True, timeout=20)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this machine lets nobody mount a disk of its own")
    port = free_port()
    settings = {"DFAD_PORT": str(port), "DFAD_ARTIFACT_STORE": request.param, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "api.log").open("wb") as log:
        server = subprocess.Popen([*command, inside], env={**os.environ, **settings}, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(400):
            try:
                httpx.get(f"{url}/healthz")
            except httpx.TransportError:
                assert server.poll() is None, (tmp_path / "api.log").read_text()
                time.sleep(0.05)
            else:
                break
        yield url, Path(f"/proc/{server.pid}/root{home}"), FITS[request.param]
    finally:
        server.terminate()
        server.wait(timeout=30)
        shutil.rmtree(home, ignore_errors=True)


def submit(url: str, teacher: bytes) -> httpx.Response:
    files = {"teacher": ("t.pt", teacher), "spec": (None, SPEC)}
    return httpx.post(f"{url}/jobs", files=files, timeout=60)


def test_a_full_disk(small_disk: tuple[str, Path, int]) -> None:
    url, disk, fits = small_disk
    other = disk / "somebody-elses-file"
    other.write_bytes(b"x" * 6 * MIB)
    first = submit(url, b"PK\x03\x04" + b"a" * MIB)
    assert first.status_code == 201
    for _ in range(3):
        refused = submit(url, b"PK\x03\x04" + os.urandom(40 * MIB))
        assert (refused.status_code, refused.json()["code"]) == (507, "storage_full")
    assert len(httpx.get(f"{url}/jobs").json()["data"]) == 1
    assert httpx.get(f"{url}/jobs/{first.json()['id']}").json()["status"] == "queued"
    other.unlink()  # somebody makes room
    assert submit(url, b"PK\x03\x04" + b"b" * fits).status_code == 201
    assert httpx.get(f"{url}/healthz").status_code == 200
