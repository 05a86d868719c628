"""Mutations of sound model files: every one is read or refused by a code, none crashes or hangs its reader.

Guards: the readers of all formats behind their walls. 2,000 cases, the same ones every time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES = 2000
GROWN_KILOBYTES = 64 * 1024


@pytest.mark.timeout(900)
def test_no_mutation_crashes_hangs_or_leaks(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    folder = tmp_path / "in"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.hostile.fuzz", str(folder), str(CASES)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=850,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["faults"] == []
    assert told["left"] == []
    assert told["grown_kilobytes"] < GROWN_KILOBYTES
    assert sum(told["codes"].values()) >= CASES
    assert {"corrupt_file", "architecture_mismatch", "read"} <= set(told["codes"])
