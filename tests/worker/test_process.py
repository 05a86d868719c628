"""The runner's process: no secrets, no survivors, a clear end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker.process import RunnerProcess, runner_environment


def alive(pid: int) -> bool:
    """Running, not merely waiting to be reaped."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def gone(pid: int, seconds: float = 15) -> bool:
    deadline = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not alive(pid)


def test_environment_holds_no_settings_and_no_secrets(tmp_path, monkeypatch):
    for name in ("DFAD_API_KEY", "DFAD_DATABASE_URL", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD"):
        monkeypatch.setenv(name, "a-secret")
    environment = runner_environment(tmp_path, 3)
    assert "a-secret" not in environment.values()
    assert not [n for n in environment if n.startswith("DFAD_")]
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "3"
    assert environment["HOME"] == environment["TMPDIR"] == str(tmp_path)


def test_the_process_really_has_that_environment_and_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DFAD_API_KEY", "a-secret")
    runner = RunnerProcess(tmp_path, 1)
    try:
        assert b"a-secret" not in Path(f"/proc/{runner.pid}/environ").read_bytes()
        assert Path(os.readlink(f"/proc/{runner.pid}/cwd")) == tmp_path
        assert os.getpgid(runner.pid) == runner.pid
    finally:
        runner.close()


def test_closing_leaves_no_process_and_no_descriptor(tmp_path):
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        runner = RunnerProcess(tmp_path, 1)
        runner.close()
        assert not alive(runner.pid)
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_unknown_first_command_ends_the_runner(tmp_path):
    runner = RunnerProcess(tmp_path, 1)
    try:
        runner.send("dance", {})
        assert runner.receive(60) is None
        assert runner.wait(10) == 2
    finally:
        runner.close()


def test_killed_runner_says_nothing_more(tmp_path):
    runner = RunnerProcess(tmp_path, 1)
    try:
        runner.kill()
        assert runner.receive(10) is None
        assert runner.receive(10) is None
        assert runner.wait(10) == -9
        runner.send("stop", {"reason": "cancel"})  # to nobody: no error
    finally:
        runner.close()


def test_silence_is_a_timeout(tmp_path):
    runner = RunnerProcess(tmp_path, 1)
    try:
        with pytest.raises(TimeoutError):
            runner.receive(0.01)
    finally:
        runner.close()


def test_a_runner_dies_with_its_supervisor(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from worker.process import RunnerProcess\n"
        "print(RunnerProcess(Path(sys.argv[1]), 1).pid, flush=True); time.sleep(60)"
    )
    root = Path(__file__).resolve().parents[2]
    supervisor = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, cwd=root
    )
    assert supervisor.stdout is not None
    pid = int(supervisor.stdout.readline())
    assert alive(pid)
    supervisor.kill()
    supervisor.communicate()
    assert gone(pid)
