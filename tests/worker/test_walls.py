"""What a container without privileges gives: the walls that matter, or a word that they are missing."""

import subprocess
import sys
from pathlib import Path

import pytest

from worker import walls

ROOT = Path(__file__).resolve().parents[2]
CONTAINER = ROOT / "tests" / "deploy" / "container.py"


def test_a_container_without_privileges_has_what_is_needed(tmp_path):
    """Guard tried: without the filter that refuses `unshare`, no namespace is missing."""
    command = [sys.executable, str(CONTAINER), str(tmp_path), "--", sys.executable, "-m", "worker.walls"]
    env = {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    if "no Landlock" in ran.stderr:
        pytest.skip("this kernel has no landlock")
    assert ran.returncode == 0, ran.stderr
    assert "network namespace" in ran.stdout


@pytest.mark.parametrize(
    ("absent", "code"), [([], 0), (["network namespace"], 0), (["landlock"], 1), (["seccomp", "landlock"], 1)]
)
def test_what_is_missing_is_said(monkeypatch, capsys, absent, code):
    monkeypatch.setattr(walls, "confine", lambda *_: absent)
    assert walls.main() == code
    said = capsys.readouterr()
    assert all(name in said.out for name in absent)
    assert bool(said.err) == bool(code)
