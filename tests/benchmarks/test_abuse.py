"""The benchmark of abuse in short: it runs, and what an attack breaks counts. The long one is by hand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.abuse.__main__ import attacks
from benchmarks.abuse.attack import Context

ROOT = Path(__file__).resolve().parents[2]


def broken_promise(context: Context) -> None:
    """An attack that finds a promise broken."""
    context.stop.wait()
    raise AssertionError


@pytest.mark.timeout(150)
def test_a_few_attacks() -> None:
    only = [f"--only={name}" for name in ("no key: changes", "one key: bodies", "one key: claims")]
    command = [sys.executable, "-m", "benchmarks.abuse", "--sqlite", "--seconds", "2", *only]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=140, check=False)
    lines = done.stdout.splitlines()
    assert re.fullmatch(r"ABUSE attacks=3 harmed=\d", lines[-1]), done.stdout + done.stderr[-2000:]
    # How fast the other is served depends on the machine; that it is served, and by whom, does not.
    assert sum("failed   0  refused   0" in line for line in lines) == 4
    assert not [line for line in lines if "exit code" in line]


PROGRAM = """
import sys, tempfile
from pathlib import Path
from benchmarks.abuse.__main__ import run
from benchmarks.abuse.attack import Attack
from tests.benchmarks.test_abuse import broken_promise
with tempfile.TemporaryDirectory() as folder:
    sys.exit(run([Attack("broken", broken_promise)], 1, Path(folder), sqlite=True))
"""


@pytest.mark.timeout(150)
def test_an_attack_that_finds_a_promise_broken_counts() -> None:
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=140, check=False)
    assert done.returncode >= 1, done.stdout + done.stderr[-2000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("broken ")]
    assert "HARMED" in line
    assert "the attack ended with exit code 1" in line


def test_names_are_told_apart() -> None:
    names = [attack.name for attack in attacks()]
    assert len(set(names)) == len(names) >= 8
