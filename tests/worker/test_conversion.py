"""What is said of a file whose reader was killed: nothing, unless it killed itself.

Guards: `ReaderKilled`. Seen without it: a SIGKILL that hit the reader alone failed the job for good, and
every later job of that teacher was refused.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

SCRIPT = """
import os, signal, sys
sys.path.insert(0, {root!r})
from pathlib import Path
from dfad_core import job
from worker import conversion, reader

def load(path, spec):
    {act}

job.read_teacher = load
if {outside}:
    from worker import sandbox
    sandbox.confine = lambda folder, size: os.kill(os.getpid(), signal.SIGKILL)
try:
    conversion.convert(reader.Files(Path("teacher.bin")), {{}}, lambda: None)
except Exception as error:
    print(type(error).__name__, getattr(error, "code", ""))
"""


@pytest.mark.parametrize(
    ("act", "outside", "said"),
    [
        ("pass", True, "ReaderKilled"),
        ("import ctypes; ctypes.string_at(0)", False, "TeacherRejected loader_crashed"),
        ("os.abort()", False, "TeacherRejected loader_crashed"),
        ("import resource; resource.setrlimit(resource.RLIMIT_CPU, (1, 2))\n    while True: pass", False,
         "TeacherRejected loader_crashed"),
    ],
)  # fmt: skip
def test_what_a_dead_reader_says_of_its_file(tmp_path: Path, act: str, outside: bool, said: str) -> None:
    (tmp_path / "teacher.bin").write_bytes(b"x")
    script = SCRIPT.format(root=str(ROOT), act=act, outside=outside)
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert ran.stdout.strip() == said


OF_LABELLED = """
import ctypes, sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from dfad_core.formats import labelled_file
from worker import conversion, reader

conversion.SECONDS, conversion.LOOK_SECONDS = 100, 0.1

def alive():
    conversion.SECONDS = {seconds}  # from the next file on

def read(*_):
    {act}

labelled_file.read_labelled_file = read
teacher = Path(sys.argv[1])
try:
    conversion.convert(reader.Files(teacher, labelled=teacher), {{}}, alive, threads=1)
except Exception as error:
    print(type(error).__name__, error.code, error.param)
"""


@pytest.mark.parametrize(
    ("act", "seconds", "said"),
    [
        ("ctypes.string_at(0)", 100, "ConfigError loader_crashed evaluation"),
        ("time.sleep(60)", 1, "ConfigError loader_timeout evaluation"),
    ],
)
def test_what_ends_the_reader_of_labelled_images_is_not_held_against_the_teacher(
    tmp_path: Path, tiny_teacher: Path, act: str, seconds: float, said: str
) -> None:
    file = tmp_path / "teacher.safetensors"
    file.write_bytes(tiny_teacher.read_bytes())
    script = OF_LABELLED.format(root=str(ROOT), act=act, seconds=seconds)
    ran = subprocess.run(
        [sys.executable, "-c", script, str(file)], cwd=tmp_path, capture_output=True, text=True, timeout=120,
        check=True,
    )  # fmt: skip
    assert ran.stdout.strip() == said, ran.stderr
