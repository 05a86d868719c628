"""The demo: its promises that are cheap to hold here, and, marked slow, the whole of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_student_is_at_most_a_quarter_of_the_teacher() -> None:
    from dfad_core import load_student
    from dfad_core.networks import build_classifier
    from dfad_core.networks.cost import cost
    from examples.digits import demo
    from examples.digits.data import SHAPE

    asked = demo.SPEC["student"]
    assert isinstance(asked, dict)
    student = build_classifier(asked["architecture"], num_classes=10, input_shape=SHAPE, args=asked["args"])
    teacher = load_student(demo.TEACHER)
    assert 4 * cost(student, SHAPE).parameters <= cost(teacher, SHAPE).parameters
    assert demo.TEACHER.stat().st_size < 1_000_000


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_demo_reaches_its_mark(tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "examples.digits.demo"],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-1]
    number = r"0\.9\d\d"
    assert re.fullmatch(
        rf"DEMO OK teacher_accuracy={number} student_accuracy={number} compression=\d+\.\dx seconds=\d+", last
    )
    assert (tmp_path / "demo" / "samples.png").stat().st_size > 0
    assert "held-out digits" in (tmp_path / "demo" / "report.html").read_text()
