"""One student of a CIFAR-10 teacher, without data.

    python -m benchmarks.colour --teacher cifar10-resnet20-public --student resnet8 --seconds 1200
    python -m benchmarks.colour --teacher cifar10-vit --set training.student_optimizer=sgd --updates 20000

The engine gets the teacher alone. Settings are chosen by the last tenth of the training images:
`choosing_accuracy`, and `choosing_agreement` with the teacher's classes. These images were compressed again
(JPEG), which costs the public teachers several points and their students more. `other_agreement` is that on
training images of CIFAR-100, which were not compressed: of other classes, but as sharp as the test images.
These are scored with `--report` only (`accuracy`, `agreement`).
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.colour_teachers import (
    NUM_CLASSES,
    TEACHERS,
    colour_teacher,
    held_out_images,
    other_images,
    report_images,
)
from benchmarks.engine.data import DataMissing, data_dir
from benchmarks.engine.recipe_facts import recipe_facts
from benchmarks.engine.shown_images import ShownImages, TimeShares
from benchmarks.engine.work import Work, updates_a_round
from benchmarks.machine_load import MachineLoad, warning
from benchmarks.mnist import processors
from benchmarks.record import RESULTS, append
from dfad_core.contract.config import BudgetConfig, DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.contract.errors import DfadError, Stopped
from dfad_core.contract.machine import usable_processors
from dfad_core.contract.methods import METHODS
from dfad_core.formats.unfolded import with_batch_norm
from dfad_core.hooks import Hooks, Progress
from dfad_core.methods import resolve_recipe
from dfad_core.networks import build_classifier
from dfad_core.networks.batch_norm import bn_layers
from dfad_core.training.profiling import profiled
from dfad_core.training.trainer import distill

FILE = "colour.jsonl"
STUDENTS = ("resnet8", "wrn_16_1", "resnet20")
MAX_STEPS = 10_000_000
NO_CHECKPOINTS = 86_400.0
PROBE_BATCH = 8
"""Images a batch of the round that shows how many queries a round has."""


@dataclass(frozen=True)
class Budget:
    """How long a run is: `amount` of `kind`."""

    kind: str
    """`seconds` of training, `updates` of the student, `teacher_pflop`: 10^15 operations of the teacher."""
    amount: float


BUDGETS = {
    "seconds": "seconds of training",
    "updates": "student updates",
    "teacher_pflop": "PFLOP of the teacher",
}
"""Kind -> its name in tables."""


def settings_of(assignments: Sequence[str]) -> dict[str, Any]:
    """`["training.batch_size=64"]` as a mapping: values in JSON, other text as it is.

    ValueError for text without `=`.
    """
    settings = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise ValueError(f"{assignment!r} is not of the form training.batch_size=64")
        try:
            settings[name] = json.loads(text)
        except json.JSONDecodeError:
            settings[name] = text
    return dict(sorted(settings.items()))


def config_for(method: str, seed: int, input: InputConfig, settings: Mapping[str, Any]) -> DistillConfig:
    """The engine's defaults with `settings`, whose names are `method.<field>` or `training.<field>`.

    Without a budget. ValueError for a name that is neither; ConfigError for a value out of bounds.
    """
    sections: dict[str, dict[str, Any]] = {"method": {"name": method}, "training": {}}
    for name, value in settings.items():
        section, _, field = name.partition(".")
        fields = {"method": MethodConfig, "training": TrainingConfig}.get(section)
        if fields is None or field not in {f.name for f in dataclasses.fields(fields)} - {"name"}:
            raise ValueError(f"there is no setting {name!r}")
        sections[section][field] = value
    return DistillConfig(
        input=input,
        num_classes=NUM_CLASSES,
        method=MethodConfig(**sections["method"]),
        # One thread, unless set: trials of two would be counted among the teacher's answers.
        training=TrainingConfig(**{"threads": 1, **sections["training"]}),
        device="cpu",
        seed=seed,
        checkpoint_seconds=NO_CHECKPOINTS,
    )


def budget_config(
    budget: Budget, config: DistillConfig, teacher: nn.Module, student: nn.Module
) -> BudgetConfig:
    """The engine's budget: whole rounds, except for seconds."""
    if budget.kind == "seconds":
        return BudgetConfig(steps=MAX_STEPS, train_seconds=budget.amount)
    if budget.kind == "updates":
        rounds = budget.amount / updates_a_round(config, teacher)
    else:
        work = Work(config, teacher, student)
        first, later = (
            work.teacher_petaflop(1, queries) for queries in queries_a_round(config, teacher, student)
        )
        rounds = 1 + (budget.amount - first) / later
    return BudgetConfig(steps=max(1, math.ceil(rounds)))


class _FirstRounds(Hooks):
    """Reads the teacher's queries after each of the first rounds, `count` of them, then stops the run."""

    def __init__(self, count: int) -> None:
        self.queries: list[float] = []
        self._count = count

    def progress(self, progress: Progress) -> None:
        self.queries.append(progress.metrics["teacher_queries"])

    def should_stop(self) -> str | None:
        return "these rounds are enough" if len(self.queries) == self._count else None


def queries_a_round(config: DistillConfig, teacher: nn.Module, student: nn.Module) -> tuple[float, float]:
    """Teacher queries of the first round, which may fill a pool, and of each later one, on average.

    Rounds of a copy of `student` with a few images a batch tell.
    """
    recipe = resolve_recipe(config, teacher_has_bn=bool(bn_layers(teacher)))
    cycle = recipe.images_every
    training = dataclasses.replace(config.training, batch_size=PROBE_BATCH, accumulation=1)
    probe = dataclasses.replace(
        config, training=training, budget=BudgetConfig(steps=cycle + 2), progress_seconds=0
    )
    hooks = _FirstRounds(cycle + 1)
    try:
        distill(teacher, copy.deepcopy(student), probe, hooks)
    except Stopped:
        a_query = config.training.batch_size / PROBE_BATCH
        first, last = hooks.queries[0] * a_query, hooks.queries[-1] * a_query
        # The first round of a method with a warm-up is one of those in which the student waits.
        return first, recipe.warm_up * first + (1 - recipe.warm_up) * (last - first) / cycle
    raise RuntimeError("the probe was not stopped")


@dataclass(frozen=True)
class Run:
    """One run, as its line is known by."""

    teacher: str
    student: str
    method: str
    seed: int
    budget: Budget
    settings: Mapping[str, Any]
    recipe: str
    """Label of the code that runs. Lines of one label are compared, whatever their git revisions."""

    def is_in(self, line: Mapping[str, Any]) -> bool:
        """Whether `line` is this run."""
        return self.about().items() <= line.items()

    def about(self) -> dict[str, Any]:
        """The fields of a line that say which run it is."""
        return {**dataclasses.asdict(self), "settings": dict(self.settings)}


def run_one(run: Run, data: Path, *, variant: str, report: bool, runs_beside: int = 0) -> dict[str, Any]:
    """Distil, measure, score; the figures of the result line. DataMissing where a file is missing."""
    loaded = with_batch_norm(colour_teacher(run.teacher, data))  # as a job does
    teacher, input = loaded.module, loaded.input
    splits, of_other_classes = {"choosing_": held_out_images(data)}, other_images(data)
    if report:
        splits[""] = report_images(data)
    config = config_for(run.method, run.seed, input, run.settings)
    torch.manual_seed(run.seed)
    student = build_classifier(run.student, num_classes=NUM_CLASSES, input_shape=input.shape)
    budget = budget_config(run.budget, config, teacher, student)
    config = dataclasses.replace(config, budget=budget)
    work = Work(config, teacher, student)
    torch.manual_seed(run.seed)
    shown, load = ShownImages(NUM_CLASSES), MachineLoad()
    start, own_start = time.monotonic(), time.process_time()
    with profiled() as profile, shown.counted():
        shares = TimeShares(profile)
        result = distill(teacher, student, config, shares)
    elapsed, own = time.monotonic() - start, time.process_time() - own_start
    others = load.figures()
    queries = int(result.metrics["teacher_queries"])
    scores = {}
    for prefix, images in splits.items():
        of_student_B, of_teacher_B = (images.predicted(m, input) for m in (result.student, teacher))
        scores[f"{prefix}accuracy"] = _share(of_student_B == images.labels_B)
        scores[f"{prefix}agreement"] = _share(of_student_B == of_teacher_B)
        scores[f"{prefix}teacher_accuracy"] = _share(of_teacher_B == images.labels_B)
    if of_other_classes is not None:
        answers = [of_other_classes.predicted(module, input) for module in (result.student, teacher)]
        scores["other_agreement"] = _share(answers[0] == answers[1])
    torch.set_num_threads(result.threads)  # the number that the line records
    return {
        "benchmark": "colour",
        "dataset": "cifar10",
        **run.about(),
        "pair": f"{run.teacher}:{run.student}",
        "variant": variant,
        **recipe_facts(config, teacher_has_bn=bool(bn_layers(teacher))),
        **scores,
        "steps": result.steps,
        "updates_a_round": updates_a_round(config, teacher),
        "student_updates": shown.updates,
        "queries": queries,
        **shown.figures(),
        "time_shares": shares.shares(result.seconds),
        "seconds": round(result.seconds, 1),
        "closing_seconds": round(elapsed - result.seconds, 1),
        "pflop": float(f"{work.petaflop(result.steps, queries):.4g}"),
        "teacher_pflop": float(f"{work.teacher_petaflop(result.steps, queries):.4g}"),
        "processor_share": round(own / elapsed, 3),
        "runs_beside": runs_beside,
        **others,
        "fidelity": {name: round(value, 5) for name, value in result.fidelity.items()},
    }


def _share(true_B: Tensor) -> float:
    return round(float(true_B.double().mean()), 4)


def add_run_options(parser: argparse.ArgumentParser) -> None:
    """Options that a table hands on to its runs."""
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--seconds", type=float, help="of training; 1200 if no budget is named")
    amount.add_argument("--updates", type=float, help="of the student, instead of seconds")
    amount.add_argument("--teacher-pflop", type=float, help="of the teacher, instead of seconds")
    parser.add_argument("--recipe", default="current", help="label of the code; its lines are compared")
    parser.add_argument("--report", action="store_true", help="score the test images as well")
    parser.add_argument("--data", help="data folder; else DFAD_DATA_DIR, else ../shared/data")
    parser.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="such as method.bn_weight=3",
    )


def budget_of(options: argparse.Namespace) -> Budget:
    """The budget that the command line names."""
    for kind in ("updates", "teacher_pflop"):
        if (amount := getattr(options, kind)) is not None:
            return Budget(kind, amount)
    return Budget("seconds", 1200.0 if options.seconds is None else options.seconds)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.colour", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--teacher", default=TEACHERS[0], choices=TEACHERS, metavar="NAME")
    parser.add_argument("--student", default=STUDENTS[0], help="a network of the catalogue")
    parser.add_argument("--method", default="best", choices=list(METHODS), metavar="NAME")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--variant", default="", help="name of the settings in tables")
    parser.add_argument("--processors", type=processors, help="processor numbers to run on, such as 0,1")
    parser.add_argument("--runs-beside", type=int, default=0, help="recorded: simultaneous runs of the table")
    add_run_options(parser)
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Distil, score, append a result line, print it in short."""
    options = parse(arguments)
    if options.processors:
        os.sched_setaffinity(0, options.processors)
    torch.set_num_threads(min(torch.get_num_threads(), usable_processors()))
    try:
        run = Run(
            options.teacher,
            options.student,
            options.method,
            options.seed,
            budget_of(options),
            settings_of(options.settings),
            options.recipe,
        )
        figures = run_one(
            run,
            data_dir(options.data),
            variant=options.variant,
            report=options.report,
            runs_beside=options.runs_beside,
        )
    except (DataMissing, ValueError, DfadError) as error:
        sys.exit(f"benchmarks.colour: {error}")
    line = append(RESULTS / FILE, figures, torch.device("cpu"))
    if (sentence := warning(figures)) is not None:
        print(sentence)
    printed = [
        *("choosing_accuracy", "choosing_agreement", "choosing_teacher_accuracy", "other_agreement"),
        *("accuracy", "agreement", "teacher_accuracy", "seconds", "student_updates", "presentations"),
        *("distinct_images", "class_entropy", "teacher_confidence", "teacher_pflop", "pflop", "time_shares"),
    ]
    scores = " ".join(f"{name}={line[name]}" for name in printed if name in line)
    print(f"COLOUR pair={line['pair']} method={options.method} {options.variant} {scores}")


if __name__ == "__main__":
    main()
