"""Every method at the same time on MNIST: several seeds of each, one table.

    python -m benchmarks.mnist_table --seconds 120 --seeds 0 1 2

Each run is a `python -m benchmarks.mnist` of its own on processors of its own: as many at once as
`--processors-each` allows. Result lines are appended as they come; a run whose line is already there
(same settings, same revision) is not repeated, so an interrupted table goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from benchmarks.record import RESULTS, ROOT, revision
from benchmarks.table import read
from dfad_core.contract.methods import METHODS

FILE = RESULTS / "mnist.jsonl"


@dataclass(frozen=True)
class Run:
    """One line of the results."""

    method: str
    seed: int
    seconds: float
    split: str
    processors: int

    def is_in(self, line: Mapping[str, Any], git_revision: str | None) -> bool:
        """Whether `line` is this run, of this revision."""
        return (
            line["method"] == self.method
            and line["seed"] == self.seed
            and line.get("budget_seconds") == self.seconds
            and line["dataset"] == f"mnist-{self.split}"
            and line["machine"]["threads"] == self.processors
            and line["git_revision"] == git_revision
        )


def summary(lines: Sequence[Mapping[str, Any]]) -> str:
    """Mean and spread (largest less smallest) over seeds, best first."""
    by_method: dict[str, list[Mapping[str, Any]]] = {}
    for line in lines:
        by_method.setdefault(line["method"], []).append(line)
    rows = []
    for method, found in by_method.items():
        scores = [100 * line["student_accuracy"] for line in found]
        rounds = statistics.mean(line["steps"] for line in found)
        queries = statistics.mean(line["curve"][-1]["queries"] for line in found)
        spread = max(scores) - min(scores)
        rows.append((statistics.mean(scores), spread, method, len(found), rounds, queries))
    head = f"{'method':<14} {'seeds':>5} {'mean %':>7} {'spread':>7} {'rounds':>8} {'teacher queries':>16}"
    return "\n".join(
        [
            head,
            *(
                f"{method:<14} {count:>5} {mean:7.2f} {spread:7.2f} {rounds:8.0f} {queries:16.0f}"
                for mean, spread, method, count, rounds, queries in sorted(rows, reverse=True)
            ),
        ]
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist_table", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=120, help="for each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="NAME")
    parser.add_argument("--processors-each", type=int, default=1, help="processors of one run")
    parser.add_argument("--split", default="test", choices=("test", "train"), help="what to score on")
    parser.add_argument("--data", help="data folder; else DFAD_DATA_DIR, else ../shared/data")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing, then print the table; exit 1 if a run failed."""
    options = parse(arguments)
    each = options.processors_each
    mine = sorted(os.sched_getaffinity(0))
    slots: SimpleQueue[list[int]] = SimpleQueue()
    at_once = max(1, len(mine) // each)
    for slot in range(at_once):
        slots.put(mine[slot * each : (slot + 1) * each])
    git_revision = revision()["git_revision"]
    wanted = [
        Run(method, seed, options.seconds, options.split, each)
        for seed in options.seeds  # seed by seed, so that a table cut short has every method
        for method in options.methods
    ]

    def done(run: Run) -> list[Mapping[str, Any]]:
        return [line for line in read(FILE) if run.is_in(line, git_revision)][-1:]

    def play(run: Run) -> int:
        processors = slots.get()
        try:
            command = [sys.executable, "-m", "benchmarks.mnist", "--device", "cpu"]
            command += ["--seconds", str(run.seconds), "--seed", str(run.seed), "--method", run.method]
            command += ["--split", run.split, "--processors", ",".join(map(str, processors))]
            command += ["--runs-beside", str(at_once - 1)]
            command += ["--data", options.data] if options.data else []
            finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        finally:
            slots.put(processors)
        output = (finished.stdout if finished.returncode == 0 else finished.stderr).splitlines()
        print(f"seed={run.seed} {output[-1] if output else 'no output'}", flush=True)
        return finished.returncode

    missing = [run for run in wanted if not done(run)]
    with ThreadPoolExecutor(at_once) as pool:
        codes = list(pool.map(play, missing))
    print(summary([line for run in wanted for line in done(run)]))
    if any(codes):
        sys.exit(f"benchmarks.mnist_table: {sum(map(bool, codes))} of {len(codes)} runs failed")


if __name__ == "__main__":
    main()
