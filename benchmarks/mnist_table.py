"""Every method at equal seconds on MNIST, with several seeds, and one table of them.

    python -m benchmarks.mnist_table --seconds 120 --seeds 0 1 2

Each run is a `python -m benchmarks.mnist` of its own. Runs go one after another: two at once are each other's
neighbour on the machine, and `--at-once` marks their lines so. Result lines are appended as they come. A run
whose line is there (same settings, same revision, no neighbour) is not repeated, so an interrupted table
goes on where it was.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.engine.method_table import MethodRuns, accuracy_at, common_amounts, legend, methods_of
from benchmarks.engine.parallel_runs import run_modules
from benchmarks.record import RESULTS, read, revision
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
    """Mean and spread (largest less smallest) over seeds at equal seconds, and the mean at equal updates."""
    methods = methods_of(lines)
    amount = next(iter(common_amounts(methods, "student_updates")), None)
    title = "-" if amount is None else f"at {amount:,.0f} updates"
    head = f"{'method':<18} {'seeds':>5} {'mean %':>7} {'spread':>7} {title:>18} {'teacher queries':>16}"
    return "\n".join([head, *(_summary_row(row, amount) for row in methods), legend(methods)]).rstrip()


def _summary_row(row: MethodRuns, amount: float | None) -> str:
    scores = [100 * line["student_accuracy"] for line in row.lines]
    reached = [None if amount is None else accuracy_at(line, "student_updates", amount) for line in row.lines]
    known = [100 * score for score in reached if score is not None]
    equal = f"{statistics.mean(known):.2f}" if len(known) == len(reached) else "not recorded"
    queries = statistics.mean(line["curve"][-1]["queries"] for line in row.lines)
    spread = max(scores) - min(scores)
    return (
        f"{row.label:<18} {len(row.lines):>5} {row.accuracy:7.2f} {spread:7.2f} {equal:>18} {queries:16.0f}"
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist_table", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=120, help="for each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="NAME")
    parser.add_argument("--processors-each", type=int, default=1, help="processors of one run")
    parser.add_argument("--at-once", type=int, default=1, help="simultaneous runs; more than 1 are marked")
    parser.add_argument("--split", default="test", choices=("test", "train"), help="what to score on")
    parser.add_argument("--data", help="data folder; else DFAD_DATA_DIR, else ../shared/data")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing, then print the table; exit 1 if a run failed."""
    options = parse(arguments)
    git_revision = revision()["git_revision"]
    runs = [
        Run(method, seed, options.seconds, options.split, options.processors_each)
        for seed in options.seeds  # seed by seed: an interrupted table has every method
        for method in options.methods
    ]

    def lines_of(run: Run) -> list[Mapping[str, Any]]:
        return [line for line in read(FILE) if run.is_in(line, git_revision)]

    def is_done(run: Run) -> bool:
        lines = lines_of(run)
        return any(not line.get("neighbour") for line in lines) or (options.at_once > 1 and bool(lines))

    codes = run_all([run for run in runs if not is_done(run)], options)
    print(summary([line for run in runs for line in lines_of(run)]))
    if any(codes):
        sys.exit(f"benchmarks.mnist_table: {sum(map(bool, codes))} of {len(codes)} runs failed")


def run_all(runs: Sequence[Run], options: argparse.Namespace) -> list[int]:
    """Exit statuses of the runs, at most `--at-once` of them at a time, each on processors of its own."""

    def arguments(run: Run) -> list[str]:
        command = ["benchmarks.mnist", "--device", "cpu"]
        command += ["--seconds", str(run.seconds), "--seed", str(run.seed), "--method", run.method]
        command += ["--split", run.split]
        return command + (["--data", options.data] if options.data else [])

    return run_modules(
        [(f"seed={run.seed}", arguments(run)) for run in runs],
        at_once=options.at_once,
        processors_each=options.processors_each,
    )


if __name__ == "__main__":
    main()
