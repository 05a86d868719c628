"""The load benchmark at its smallest: every part gives figures. None is looked at: machines differ."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.service.load import load

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(170)
def test_every_part_gives_figures() -> None:
    command = [sys.executable, "-m", "benchmarks.api_load", "--no-record", "--seconds", "0.3", "--mib", "2"]
    command += ["--jobs", "1100", "--watchers", "5", "--processes", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["polling"]["per_second"]["dfad"] > 0
    assert found["polling"]["at_half"]["dfad"]["errors"] == 0
    assert found["streams"]["whole"] == 5
    assert [about["store"] for about in found["files"]] == ["filesystem", "database (sqlite)"]


def test_a_server_that_is_not_there_counts_as_errors() -> None:
    found = load("127.0.0.1", 1, ["/"], connections=2, seconds=0.2, rate=20)
    assert found.errors == found.requests > 0
    assert found.per_second == 0
