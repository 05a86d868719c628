"""Runs of a table as processes of their own, each pinned to processors of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue

from benchmarks.record import ROOT


def run_modules(
    runs: Sequence[tuple[str, Sequence[str]]],
    *,
    at_once: int,
    processors_each: int,
) -> list[int]:
    """Exit statuses of `python -m` runs, at most `at_once` of them at a time.

    `runs` are pairs of a title, which precedes the last line of the output, and the module with its
    arguments. Each gets its processors as `--processors` and the number of runs beside it as `--runs-beside`.
    Fewer run at a time where this process may not use as many processors.
    """
    usable = sorted(os.sched_getaffinity(0))
    at_once = max(1, min(at_once, len(usable) // processors_each))
    slots: SimpleQueue[list[int]] = SimpleQueue()
    for slot in range(at_once):
        slots.put(usable[slot * processors_each : (slot + 1) * processors_each])

    def run_one(run: tuple[str, Sequence[str]]) -> int:
        title, arguments = run
        processors = slots.get()
        try:
            command = [sys.executable, "-m", *arguments]
            command += ["--processors", ",".join(map(str, processors)), "--runs-beside", str(at_once - 1)]
            finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        finally:
            slots.put(processors)
        output = (finished.stdout if finished.returncode == 0 else finished.stderr).splitlines()
        print(f"{title} {output[-1] if output else 'no output'}", flush=True)
        return finished.returncode

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(run_one, runs))
