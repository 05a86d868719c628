"""The chaos run in short: nothing is lost, nothing doubled while processes die. The long one is by hand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def chaos(*arguments: str) -> dict[str, float]:
    """The figures of the last line."""
    command = [sys.executable, "-m", "benchmarks.chaos", "--short", "--no-record", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return {name: float(value) for name, value in re.findall(r"(\w+)=([\d.]+)", done.stdout.splitlines()[-1])}


@pytest.mark.timeout(170)
@pytest.mark.parametrize("stack", ["embedded", pytest.param("full", marks=pytest.mark.services)])
def test_nothing_is_lost_and_nothing_doubled(stack: str) -> None:
    found = chaos("--stack", stack, "--jobs", "40", "--seconds", "20", "--pause", "0.5")
    assert (found["submitted"], found["finished"], found["lost"], found["doubled"]) == (40, 40, 0, 0)
    assert found["kills"] >= 5


@pytest.mark.timeout(170)
def test_workers_that_reach_the_server_alone_lose_nothing() -> None:
    found = chaos("--remote", "--jobs", "20", "--seconds", "15", "--pause", "0.5")
    assert (found["submitted"], found["finished"], found["lost"], found["doubled"]) == (20, 20, 0, 0)
    assert found["kills"] >= 2
