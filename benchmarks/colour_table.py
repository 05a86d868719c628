"""CIFAR-10 teachers, students and methods at one budget, with several seeds, and the tables of them.

    python -m benchmarks.colour_table --seconds 1200
    python -m benchmarks.colour_table --methods best --students resnet8 --recipe sgd --processes 2 \\
        --variant adam --variant sgd training.student_optimizer=sgd training.student_learning_rate=0.1

Each run is a `python -m benchmarks.colour` of its own, on one thread and pinned to a processor. A run whose
line is there (same teacher, student, method, settings, seed, budget and `--recipe`) is not repeated, so an
interrupted table goes on where it was; a run that was cut off starts anew. Teachers without a file, and all
of them without images, are named and left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.colour import (
    FILE,
    STUDENTS,
    Budget,
    Run,
    add_run_options,
    budget_of,
    config_for,
    settings_of,
)
from benchmarks.colour_teachers import INPUT, TEACHERS, colour_teacher
from benchmarks.engine.colour_rows import colour_sections
from benchmarks.engine.data import DataMissing, data_dir, data_file
from benchmarks.engine.parallel_runs import run_modules
from benchmarks.record import RESULTS, read
from dfad_core.contract.errors import DfadError
from dfad_core.contract.methods import METHODS

Variants = Mapping[str, Mapping[str, Any]]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.colour_table", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--teachers", nargs="+", default=list(TEACHERS), choices=TEACHERS, metavar="NAME")
    parser.add_argument("--students", nargs="+", default=list(STUDENTS), metavar="NAME")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS), metavar="NAME")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--variant",
        nargs="+",
        action="append",
        default=[],
        metavar="NAME [SETTING=VALUE ...]",
        help="one row a variant for each method, with settings of its own besides those of --set",
    )
    parser.add_argument("--processes", type=int, default=1, help="simultaneous runs, a processor each")
    add_run_options(parser)
    return parser.parse_args(arguments)


def variants_of(options: argparse.Namespace) -> dict[str, list[str]]:
    """Name -> assignments. Without `--variant` one without a name."""
    variants = options.variant or [[""]]
    return {name: [*options.settings, *assignments] for name, *assignments in variants}


def missing(teachers: Sequence[str], data: str | None, *, report: bool) -> dict[str, str]:
    """Teacher -> what is not there for its runs."""
    sentences = {}
    for name in teachers:
        try:
            folder = data_dir(data)
            for split in ("train", "test") if report else ("train",):
                data_file(folder, f"cifar10-{split}.parquet")
            colour_teacher(name, folder)
        except DataMissing as error:
            sentences[name] = str(error)
    return sentences


def arguments_of(
    run: Run, variant: str, assignments: Sequence[str], options: argparse.Namespace
) -> list[str]:
    """The module and command line of one run."""
    command = ["benchmarks.colour", "--teacher", run.teacher, "--student", run.student]
    command += ["--method", run.method, "--seed", str(run.seed), "--recipe", run.recipe]
    command += ["--" + run.budget.kind.replace("_", "-"), str(run.budget.amount), "--variant", variant]
    command += ["--set", *assignments] if assignments else []
    command += ["--report"] if options.report else []
    return command + (["--data", options.data] if options.data else [])


def is_done(run: Run, lines: Sequence[Mapping[str, Any]], *, report: bool) -> bool:
    """Whether `lines` have the run, scored on the test images too where that is wanted."""
    return any(run.is_in(line) and ("accuracy" in line or not report) for line in lines)


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing, then print the tables; exit 1 if a run failed."""
    options = parse(arguments)
    budget: Budget = budget_of(options)
    try:
        variants = {name: (texts, settings_of(texts)) for name, texts in variants_of(options).items()}
        for _, settings in variants.values():
            config_for("best", 0, INPUT, settings)
    except (ValueError, TypeError, DfadError) as error:
        sys.exit(f"benchmarks.colour_table: {error}")
    absent = missing(options.teachers, options.data, report=options.report)
    for name, sentence in absent.items():
        print(f"skipped: {name}: {sentence}")
    lines = read(RESULTS / FILE)
    wanted = [
        (Run(teacher, student, method, seed, budget, settings, options.recipe), variant, texts)
        for seed in options.seeds  # seed by seed: an interrupted table has every row
        for teacher in options.teachers
        if teacher not in absent
        for student in options.students
        for method in options.methods
        for variant, (texts, settings) in variants.items()
    ]
    todo = [each for each in wanted if not is_done(each[0], lines, report=options.report)]
    codes = run_modules(
        [(f"seed={run.seed}", arguments_of(run, name, texts, options)) for run, name, texts in todo],
        at_once=options.processes,
        processors_each=1,
    )
    lines = [line for line in read(RESULTS / FILE) if any(run.is_in(line) for run, _, _ in wanted)]
    for title, text in colour_sections(lines):
        print(f"\n{title}\n\n{text}")
    if any(codes):
        sys.exit(f"benchmarks.colour_table: {sum(map(bool, codes))} of {len(codes)} runs failed")


if __name__ == "__main__":
    main()
