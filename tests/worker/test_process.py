"""The runner's process: no secrets, no survivors, a clear end."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from worker.process import RunnerProcess, nursery, runner_environment


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


@pytest.fixture(params=["fresh", "warm"])
def make(request, tmp_path):
    """Makes runners: started afresh, and forked from a nursery."""
    return lambda **more: RunnerProcess(tmp_path, 1, warm=request.param == "warm", **more)


@pytest.fixture(autouse=True, scope="module")
def _no_nursery_stays():
    yield
    nursery().close()


def test_the_process_really_has_that_environment_and_folder(make, tmp_path, monkeypatch):
    monkeypatch.setenv("DFAD_API_KEY", "a-secret")
    runner = make()
    try:
        assert b"a-secret" not in Path(f"/proc/{runner.pid}/environ").read_bytes()
        assert gone_to(tmp_path, runner.pid)
        assert os.getpgid(runner.pid) == runner.pid
    finally:
        runner.close()


def gone_to(folder: Path, pid: int, seconds: float = 15) -> bool:
    """Whether the process is in `folder`, or soon will be."""
    deadline = time.monotonic() + seconds
    while Path(os.readlink(f"/proc/{pid}/cwd")) != folder:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def test_closing_leaves_no_process_and_no_descriptor(make):
    make().close()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        runner = make()
        runner.close()
        assert not alive(runner.pid)
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_unknown_first_command_ends_the_runner(make):
    runner = make()
    try:
        runner.send("dance", {})
        assert runner.receive(60) is None
        assert runner.wait(10) == 2
    finally:
        runner.close()


def test_killed_runner_says_nothing_more(make):
    runner = make()
    try:
        runner.kill()
        assert runner.receive(10) is None
        assert runner.receive(10) is None
        assert runner.wait(10) == -9
        runner.send("stop", {"reason": "cancel"})  # to nobody: no error
    finally:
        runner.close()


def test_silence_is_a_timeout(make):
    runner = make()
    try:
        with pytest.raises(TimeoutError):
            runner.receive(0.01)
    finally:
        runner.close()


@pytest.mark.parametrize("warm", [False, True])
def test_a_runner_dies_with_its_supervisor(tmp_path, warm):
    code = (
        "import sys, time; from pathlib import Path; from worker.process import RunnerProcess\n"
        f"print(RunnerProcess(Path(sys.argv[1]), 1, warm={warm}).pid, flush=True); time.sleep(60)"
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


def test_a_runner_of_the_nursery_holds_nothing_but_its_own_pipes(tmp_path):
    kept = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    runner = RunnerProcess(tmp_path, 1, warm=True, kept=(kept,))
    try:
        assert gone_to(tmp_path, runner.pid)
        held = {os.readlink(f"/proc/{runner.pid}/fd/{n}") for n in os.listdir(f"/proc/{runner.pid}/fd")}
        assert str(tmp_path / "lock") in held
        assert not [name for name in held if name.startswith(("socket:", "anon_inode:"))]
    finally:
        runner.close()
        os.close(kept)


def test_a_nursery_that_was_killed_is_started_again(tmp_path):
    first = RunnerProcess(tmp_path, 1, warm=True)
    home = int(Path(f"/proc/{first.pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    os.kill(home, 9)
    assert first.receive(30) is None
    assert first.wait(10) == -9
    first.close()
    again = RunnerProcess(tmp_path, 1, warm=True)
    try:
        again.send("dance", {})
        assert again.receive(60) is None
        assert again.wait(10) == 2
    finally:
        again.close()
