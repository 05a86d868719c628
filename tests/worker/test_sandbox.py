"""The walls around whoever reads a stranger's file: each thing that must not be possible is tried."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker.sandbox import NOBODY

ROOT = Path(__file__).resolve().parents[2]

ATTEMPTS = """
import ctypes, json, os, socket, sys, threading
sys.path.insert(0, {root!r})
import torch
from pathlib import Path
from worker.sandbox import confine

folder, secret, parent = Path.cwd(), Path({secret!r}), os.getppid()
missing = confine(folder, 1000)
done = {{}}

def attempt(name, act):
    try:
        act()
        done[name] = "done"
    except BaseException as error:
        done[name] = type(error).__name__

def crowd():
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    torch.randn(300, 300) @ torch.randn(300, 300)

attempt("write here", lambda: Path("here").write_bytes(b"x"))
attempt("threads", crowd)
attempt("late import", lambda: __import__("xml.dom.minidom"))
attempt("write elsewhere", lambda: (secret.parent / "new").write_bytes(b"x"))
attempt("read a secret", secret.read_bytes)
attempt("read the users", lambda: open("/etc/passwd").read())
attempt("read the parent", lambda: open(f"/proc/{{parent}}/environ").read())
attempt("socket", lambda: socket.socket())
attempt("unix socket", lambda: socket.socket(socket.AF_UNIX))
attempt("socket pair", lambda: socket.socketpair())
attempt("fork", os.fork)
attempt("exec", lambda: os.execv("/bin/true", ["true"]))
attempt("spawn", lambda: os.posix_spawn("/bin/true", ["true"], {{}}))
attempt("kill", lambda: os.kill(parent, 0))
attempt("much memory", lambda: bytearray(64 * 2**30))
attempt("large file", lambda: os.posix_fallocate(os.open("big", os.O_CREAT | os.O_WRONLY), 0, 2**30))
print(json.dumps([missing, os.geteuid(), done]))
"""


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], int, dict[str, str]]:
    folder, elsewhere = tmp_path_factory.mktemp("inside"), tmp_path_factory.mktemp("outside")
    secret = elsewhere / "secret"
    secret.write_text("s")
    secret.chmod(0o644)
    script = ATTEMPTS.format(root=str(ROOT), secret=str(secret))
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    assert ran.returncode == 0, ran.stderr
    missing, user, done = json.loads(ran.stdout)
    assert [p.name for p in elsewhere.iterdir()] == ["secret"]
    done["owner of what it wrote"] = str((folder / "here").stat().st_uid)
    return missing, user, done


def test_what_reading_needs_is_possible(outcome: tuple[list[str], int, dict[str, str]]) -> None:
    _, _, done = outcome
    assert {done[name] for name in ("write here", "threads", "late import")} == {"done"}


@pytest.mark.parametrize(
    ("what", "wall"),
    [
        ("write elsewhere", "landlock"), ("read a secret", "landlock"), ("read the users", "landlock"),
        ("read the parent", "landlock"), ("socket", "seccomp"), ("unix socket", "seccomp"),
        ("socket pair", "seccomp"), ("fork", "seccomp"), ("exec", "seccomp"), ("spawn", "seccomp"),
        ("kill", "seccomp"), ("much memory", ""), ("large file", ""),
    ],
)  # fmt: skip
def test_nothing_else_is(outcome: tuple[list[str], int, dict[str, str]], what: str, wall: str) -> None:
    """Guards tried: without the call of `_see_only`, of `_refuse_calls` and of `_limit` these are "done"."""
    missing, _, done = outcome
    if wall in missing:
        pytest.skip(f"this kernel has no {wall}")
    assert done[what] in ("PermissionError", "OSError", "MemoryError", "BlockingIOError"), done


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has it to give up")
def test_root_is_given_up(outcome: tuple[list[str], int, dict[str, str]]) -> None:
    """Seen from outside: within a user namespace root has the number of nobody too."""
    missing, user, done = outcome
    assert user == NOBODY
    assert "user of its own" not in missing
    assert done["owner of what it wrote"] == str(NOBODY)
