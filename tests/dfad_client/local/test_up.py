"""What `dfad up` refuses, and how it treats its processes; nothing of the service runs here."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dfad_client.cli import app
from dfad_client.local import service_processes, up
from dfad_client.local.service_processes import ServiceProcess


@pytest.fixture(autouse=True)
def _no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DFAD_API_KEY", raising=False)


def run(*arguments: str, home: Path) -> Any:
    return CliRunner().invoke(app, ["up", *arguments, "--home", str(home)])


def test_beyond_loopback_a_key_is_needed(tmp_path: Path) -> None:
    done = run("--host", "0.0.0.0", home=tmp_path / "home")
    assert done.exit_code == 5
    assert "DFAD_API_KEY" in done.stderr
    assert not (tmp_path / "home").exists()


def test_an_installation_of_the_client_alone_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_processes.importlib.util, "find_spec", lambda name: None)
    done = run("--json", home=tmp_path / "home")
    assert done.exit_code == 5
    assert "extras" in done.stderr
    assert '"client_only"' in done.stdout


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run(home=tmp_path / "file" / "home")
    assert done.exit_code == 5
    assert "Cannot use the folder" in done.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_ports(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    port = up.free_port(host)
    up.check_port(host, port)
    with socket.socket(family) as taken:
        taken.bind((host, port))
        taken.listen()
        with pytest.raises(up.CannotStart, match="--port"):
            up.check_port(host, port)
    with pytest.raises(up.CannotStart, match="cannot listen"):
        up.check_port("192.0.2.1", 0)
    assert up.url_of(host, 80) in ("http://127.0.0.1:80", "http://[::1]:80")


def process(tmp_path: Path, code: str, orphan_signal: int = signal.SIGTERM) -> ServiceProcess:
    return ServiceProcess(
        "it", [sys.executable, "-c", code], dict(os.environ), tmp_path / "it.log", orphan_signal
    )


def wait_for(condition: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def pauses(news: list[str]) -> list[float]:
    """Seconds before each new start, as the lines say them."""
    return [float(found) for line in news for found in re.findall(r"again in (\S+) s", line)]


def test_the_dead_are_started_again_for_ever_after_longer_pauses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_processes, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(service_processes, "_LONGEST_PAUSE_SECONDS", 0.008)
    child = process(tmp_path, "print('no space left'); exit(7)")
    child.start()
    news: list[str] = []
    while len(news) < 8:
        news.extend(filter(None, [child.keep_alive()]))
        time.sleep(0.01)
    assert pauses(news) == [0.001, 0.002, 0.004, *[0.008] * 5]
    assert all(line.startswith("it died (exit code 7)") and "no space left" in line for line in news)


def test_a_process_that_lived_a_while_is_started_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_processes, "_FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(service_processes, "_STEADY_SECONDS", 0.0)
    child = process(tmp_path, "")
    child.start()
    news: list[str] = []
    while len(news) < 3:
        news.extend(filter(None, [child.keep_alive()]))
        time.sleep(0.01)
    assert pauses(news) == [0.001] * 3


def test_a_machine_without_room_for_a_process_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_processes, "_FIRST_PAUSE_SECONDS", 0.001)
    child = process(tmp_path, "import time; time.sleep(60)")
    full = OSError(errno.EAGAIN, "Resource temporarily unavailable")
    with monkeypatch.context() as patch:
        patch.setattr(service_processes.subprocess, "Popen", raising(full))
        assert "cannot be started (Resource temporarily unavailable)" in str(child.keep_alive())
    wait_for(lambda: child.keep_alive() is None and child.pid is not None)
    assert child.exit_code is None
    child.kill()


def raising(error: Exception) -> Any:
    def act(*_: Any, **__: Any) -> None:
        raise error

    return act


def test_a_start_keeps_the_log_of_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "it.log").write_text("before")
    assert process(tmp_path, "").last_words() == ""
    assert (tmp_path / "it.log.old").read_text() == "before"


def test_kill_ends_the_whole_group(tmp_path: Path) -> None:
    stubborn = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "print(subprocess.Popen(['sleep', '60']).pid, flush=True); time.sleep(60)"
    )
    child = process(tmp_path, stubborn)
    child.start()
    wait_for(child.last_words)
    grandchild = int(child.last_words())
    child.terminate()
    assert not child.wait(0.1)
    child.kill()
    assert child.exit_code == -signal.SIGKILL
    wait_for(lambda: not alive(grandchild))


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's notice of a parent's death")
def test_children_are_told_when_their_parent_is_killed(tmp_path: Path) -> None:
    parent = (
        "import sys, time, pathlib, signal, os; from dfad_client.local import service_processes;"
        "S = service_processes.ServiceProcess;"
        "c = S('c', ['sleep', '60'], dict(os.environ), pathlib.Path(sys.argv[1]), signal.SIGTERM); c.start();"
        "print(c.pid, flush=True); time.sleep(60)"
    )
    root = str(Path(up.__file__).parents[2])
    with subprocess.Popen(
        [sys.executable, "-c", parent, str(tmp_path / "c.log")],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": root},
    ) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        assert alive(child)
        process.kill()
    wait_for(lambda: not alive(child))
