"""`dfad up` with its real processes, and a job through them from the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.running_service import ROOT, clean_environment


def start(home: Path, *arguments: str, **settings: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "dfad_client", "up", "--home", str(home), "--json", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        env=clean_environment(**settings),
        stdout=pipe,
        stderr=pipe,
        text=True,
        cwd=home.parent,
        # As from a terminal: tests that run in the background inherit that Ctrl-C is to be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  (one call, no locks)
    )


def in_sessions(leaders: list[int]) -> list[int]:
    """Living processes of the sessions that these processes led."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) in leaders and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def wait_for(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.1)


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any], Path]]:
    """An `up`, what it said, and its folder; all of it is gone afterwards."""
    home = tmp_path / "home"
    process = start(home, "--port", "0")
    sessions: list[int] = []
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
        said = json.loads(line)
        sessions = list(said["processes"].values())
        yield process, said, home
    finally:
        process.kill()
        process.communicate()
        for pid in in_sessions(sessions):
            os.kill(pid, signal.SIGKILL)


def test_one_at_a_time_and_a_clean_end(running: Any, tmp_path: Path) -> None:
    process, said, home = running
    assert json.loads((home / "server.json").read_text()) == said
    assert set(said["processes"]) == {"api", "worker-1"}
    assert ready(said["url"])
    assert home.stat().st_mode & 0o077 == 0, "a folder of models is nobody else's business"

    second = start(home, "--port", "0")
    out, err = second.communicate(timeout=60)
    assert second.returncode == 5
    assert json.loads(out)["error"]["code"] == "already_running"
    assert str(said["pid"]) in err
    assert said["url"] in err

    elsewhere = start(tmp_path / "other", "--port", str(said["port"]))
    out, err = elsewhere.communicate(timeout=60)
    assert elsewhere.returncode == 5
    assert f"Port {said['port']}" in err

    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert in_sessions(list(said["processes"].values())) == []
    assert not (home / "server.json").exists()
    assert (home / "logs" / "api.log").stat().st_size > 0


def test_the_dead_come_back_and_nothing_outlives_it(running: Any) -> None:
    process, said, _home = running
    first = said["processes"]
    os.kill(first["api"], signal.SIGKILL)
    wait_for(lambda: not ready(said["url"]))
    wait_for(lambda: ready(said["url"]))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    everyone = sorted({*first.values(), *map(int, children)})
    assert len(in_sessions(everyone)) >= 2
    process.kill()
    process.wait()
    wait_for(lambda: in_sessions(everyone) == [])


def test_the_operators_key_is_the_servers_alone(tmp_path: Path) -> None:
    key = "a-key-that-nobody-guesses"
    process = start(tmp_path / "home", "--port", "0", DFAD_API_KEY=key, DFAD_KEY_PEPPER="p" * 16)
    try:
        assert process.stdout is not None
        pids = json.loads(process.stdout.readline())["processes"]
        assert key.encode() in environ(pids["api"])
        of_the_worker = in_sessions([pids["worker-1"]])
        assert len(of_the_worker) >= 2  # with what it started
        for pid in of_the_worker:
            assert b"DFAD_API_KEY" not in environ(pid), Path(f"/proc/{pid}/cmdline").read_bytes()
            assert b"DFAD_KEY_PEPPER" not in environ(pid)
    finally:
        process.terminate()
        process.communicate(timeout=60)


def environ(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def dfad(url: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    env = {**clean_environment(), "DFAD_BASE_URL": url}
    command = [sys.executable, "-m", "dfad_client", *arguments]
    return subprocess.run(
        command, env=env, cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_from_teacher_to_student_on_the_command_line(
    running: Any, tiny_teacher: Path, tmp_path: Path
) -> None:
    from dfad_core import load_student

    _process, said, _home = running
    small = {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8}
    (tmp_path / "spec.json").write_text(json.dumps({"training": small}))
    teacher, student = str(tiny_teacher), ["--student", "mlp8", "--student-arg", "width=8"]

    submitted = dfad(
        said["url"],
        tmp_path,
        "submit",
        teacher,
        *student,
        "--spec",
        "spec.json",
        "--steps",
        "10",
        "--wait",
        "--json",
    )
    assert submitted.returncode == 0, submitted.stderr
    job = json.loads(submitted.stdout)
    assert (job["status"], job["result"]["student"]["architecture"]) == ("succeeded", "mlp8")

    watched = dfad(said["url"], tmp_path, "watch", job["id"], "--json")
    *events, last = map(json.loads, watched.stdout.splitlines())
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert (events[-1]["type"], last["id"], watched.returncode) == ("job.succeeded", job["id"], 0)

    fetched = dfad(said["url"], tmp_path, "download", job["id"], "-o", "student.safetensors")
    assert fetched.returncode == 0, fetched.stderr
    network = load_student(tmp_path / "student.safetensors")
    assert sum(p.numel() for p in network.parameters()) == job["result"]["student"]["parameters"]

    assert job["id"] in dfad(said["url"], tmp_path, "list").stdout
    refused = dfad(said["url"], tmp_path, "submit", teacher, "--student", "nonsense", "--method", "nonsense")
    assert refused.returncode == 3
    assert "/student/architecture" in refused.stderr
    assert "/method" in refused.stderr
    (tmp_path / "torn.safetensors").write_bytes(tiny_teacher.read_bytes()[:-7])
    failed = dfad(said["url"], tmp_path, "submit", "torn.safetensors", *student, "--wait")
    assert failed.returncode == 1
    assert "corrupt_file" in failed.stdout


def test_beside_a_job_files_are_inspected_and_others_wait_aloud(
    running: Any, tiny_teacher: Path, tmp_path: Path
) -> None:
    _process, said, _home = running
    url, teacher = said["url"], str(tiny_teacher)
    for command in (["submit", "--student", "mlp8"], ["inspect"]):
        refused = dfad(url, tmp_path, command[0], str(ROOT / "README.md"), *command[1:])
        assert refused.returncode == 3
        assert "The file is text, not a safetensors file" in refused.stderr
        assert "unsupported_format" in refused.stderr

    small = {"batch_size": 16, "student_steps": 2, "generator_width": 4, "latent_dim": 8}
    (tmp_path / "spec.json").write_text(json.dumps({"training": small, "budget": {"steps": 1_000_000}}))
    job = ["--student", "mlp8", "--spec", "spec.json", "-q"]
    first = dfad(url, tmp_path, "submit", teacher, *job).stdout.strip()
    wait_for(lambda: httpx.get(f"{url}/jobs/{first}").json()["progress"]["step"] > 0)
    inspected = dfad(url, tmp_path, "inspect", teacher, "-q")
    assert (inspected.returncode, inspected.stdout[:4]) == (0, "tch_"), inspected.stderr
    assert httpx.get(f"{url}/jobs/{first}").json()["status"] == "running"

    second, third = (dfad(url, tmp_path, "submit", teacher, *job).stdout.strip() for _ in range(2))
    assert first_line(url, tmp_path, "watch", second) == "Waiting for a free worker."
    assert first_line(url, tmp_path, "watch", third) == "Waiting: 1 job is before this one."
    for one in (third, second, first):
        assert dfad(url, tmp_path, "cancel", one).returncode == 0


def first_line(url: str, folder: Path, *arguments: str) -> str:
    """What a command says first on standard error; it is ended then."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dfad_client", *arguments],
        env={**clean_environment(), "DFAD_BASE_URL": url},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        return process.stderr.readline().strip()
    finally:
        process.kill()
        process.communicate()
