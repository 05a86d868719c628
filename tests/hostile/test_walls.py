"""A reader that its file has taken over can do nothing that it should not (`tests.hostile.walls`)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from worker.walls import NEEDED, missing

ROOT = Path(__file__).resolve().parents[2]


def test_all_walls_hold() -> None:
    """Guards tried: without Landlock 22 attempts of an ordinary user go through; without the filter, some."""
    if bare := [name for name in missing() if name in NEEDED]:
        pytest.skip(f"this kernel has no {' and no '.join(bare)}")
    ran = subprocess.run(
        [sys.executable, "-m", "tests.hostile.walls"],
        cwd=ROOT, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    found = re.search(r"^WALLS tried=(\d+) held=(\d+)$", ran.stdout, re.MULTILINE)
    assert found is not None, ran.stdout + ran.stderr
    tried, held = int(found[1]), int(found[2])
    assert held == tried >= 40, ran.stdout
