"""Mutations of sound model files: every one is read or refused by a code, none crashes or hangs its reader.

Guards: the readers of all formats behind their walls. 2,000 cases, the same ones every time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CASES, PROCESSES = 2000, 2
GROWN_KILOBYTES = 64 * 1024


@pytest.mark.timeout(900)
def test_no_mutation_crashes_hangs_or_leaks(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = []
    for seed in range(PROCESSES):
        folder = tmp_path / str(seed) / "in"
        folder.mkdir(parents=True)
        command = [sys.executable, "-m", "tests.hostile.fuzz", str(folder), str(CASES // PROCESSES)]
        started.append(
            subprocess.Popen(
                [*command, str(seed)],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    codes = Counter[str]()
    try:
        for process in started:
            output, errors = process.communicate(timeout=850)
            assert process.returncode == 0, errors[-3000:]
            told = json.loads(output.splitlines()[-1])
            assert told["faults"] == []
            assert told["left"] == []
            assert told["grown_kilobytes"] < GROWN_KILOBYTES
            codes.update(told["codes"])
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert codes.total() >= CASES
    assert {"corrupt_file", "architecture_mismatch", "read"} <= set(codes)
