"""Mutations of sound model files: every one is read or refused by a code, none crashes or hangs its reader.

Guards: the readers of all formats behind their walls. 1,000 cases, the same ones every time; ten times as
many with `-m slow`.
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
PROCESSES = 2
GROWN_KILOBYTES = 64 * 1024


@pytest.mark.parametrize(
    ("cases", "seconds"),
    [
        pytest.param(1000, 850, marks=pytest.mark.timeout(900)),
        pytest.param(10_000, 8500, marks=[pytest.mark.timeout(9000), pytest.mark.slow]),
    ],
)
def test_no_mutation_crashes_hangs_or_leaks(tmp_path: Path, cases: int, seconds: int) -> None:
    pytest.importorskip("transformers")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    started = []
    for seed in range(PROCESSES):
        folder = tmp_path / str(seed) / "in"
        folder.mkdir(parents=True)
        command = [sys.executable, "-m", "tests.hostile.fuzz", str(folder), str(cases // PROCESSES)]
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
            output, errors = process.communicate(timeout=seconds)
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
    assert codes.total() >= cases
    assert {"corrupt_file", "architecture_mismatch", "read"} <= set(codes)
