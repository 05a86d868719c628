"""Scratch folders of processes that died go; those of others stay."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from app.config import get_settings
from worker.scratch import YOUNG_SECONDS, own_temporary_folder, scratch_folder, sweep_scratch

PROGRAM = """
import sys, time
from worker.scratch import scratch_folder
with scratch_folder(sys.argv[1]) as folder:
    (folder / "teacher.bin").write_bytes(b"x")
    print(folder, flush=True)
    time.sleep(60)
"""


POOL = """
import tempfile, time
from multiprocessing.util import get_temp_dir
from worker.scratch import own_temporary_folder
with own_temporary_folder():
    print(get_temp_dir(), flush=True)
    time.sleep(60)
"""


def aged(folder):
    """`folder`, as if it had been made long ago."""
    long_ago = time.time() - 2 * YOUNG_SECONDS
    os.utime(folder, (long_ago, long_ago))
    return folder


def test_only_folders_of_processes_that_died_go(home):
    working = subprocess.Popen([sys.executable, "-c", PROGRAM, "job_1"], stdout=subprocess.PIPE, text=True)
    folder = aged(Path(working.stdout.readline().strip()))
    try:
        with scratch_folder("tch_1") as own:
            aged(own)
            assert sweep_scratch() == []
        assert not own.exists()
    finally:
        working.send_signal(signal.SIGKILL)
        working.wait()
        working.stdout.close()
    assert folder.is_dir()
    assert sweep_scratch() == [folder.name]
    assert not folder.exists()


def test_young_folders_and_those_of_others_stay(home):
    parent = get_settings().scratch_folder
    for name in ("job_young", "counts-of-a-server"):
        (parent / name).mkdir(parents=True)
    aged(parent / "counts-of-a-server")
    assert sweep_scratch() == []
    assert len(list(parent.iterdir())) == 2


def test_temporary_files_of_a_worker_that_was_killed_go(home):
    worker = subprocess.Popen([sys.executable, "-c", POOL], stdout=subprocess.PIPE, text=True)
    made = Path(worker.stdout.readline().strip())
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    worker.stdout.close()
    assert made.is_dir()
    folder = aged(made.parent)
    assert sweep_scratch() == [folder.name]


def test_a_worker_starts_where_its_temporary_folder_cannot_be_made(home):
    home.mkdir(exist_ok=True)
    get_settings().scratch_folder.write_text("no folder")
    before = tempfile.gettempdir()
    with own_temporary_folder():
        assert tempfile.gettempdir() == before


def test_a_sweep_without_a_folder(home):
    assert sweep_scratch() == []
