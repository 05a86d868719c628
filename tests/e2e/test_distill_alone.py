"""`dfad distill` with no server: the engine's own process, ended by Ctrl-C in the middle of its training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from dfad_core import load_student

ROOT = Path(__file__).resolve().parents[2]


def test_ctrl_c_keeps_the_student_as_it_is(tiny_teacher: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dfad_client", "distill", str(tiny_teacher), "--json"]
    options = ["--student", "mlp8", "--student-arg", "width=8", "--steps", "1000000", "--device", "cpu"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DFAD_")}
    lines: list[dict[str, object]] = []
    with subprocess.Popen(
        [*command, *options],
        cwd=tmp_path,
        env={**clean, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(json.loads(line))
            if lines[-1].get("type") == "progress" and not any(one.get("asked") for one in lines):
                lines.append({"asked": True})
                process.send_signal(signal.SIGINT)
        code = process.wait(60)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert code == 130
    assert lines[-1]["partial"] is True
    assert lines[-1]["files"] == ["student.safetensors"]
    student = load_student(tmp_path / "student.safetensors")
    assert student.dfad_metadata.extra["partial"] is True
    assert sorted(path.name for path in tmp_path.iterdir()) == ["student.safetensors"]
