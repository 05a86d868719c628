"""Scratch folders of processes that died go; those of others stay."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from app.platform.settings import get_settings
from worker.scratch import YOUNG_SECONDS, scratch_folder, sweep_scratch

PROGRAM = """
import sys, time
from worker.scratch import scratch_folder
with scratch_folder(sys.argv[1]) as folder:
    (folder / "teacher.bin").write_bytes(b"x")
    print(folder, flush=True)
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


def test_a_sweep_without_a_folder(home):
    assert sweep_scratch() == []
