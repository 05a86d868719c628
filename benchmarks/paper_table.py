"""A row of the papers' tables, end to end: teacher, distillation, the final student's accuracy.

    python -m benchmarks.paper_table --dataset cifar10 --pair resnet34:resnet18 --method best --seconds 900

Without `--teacher`, a teacher is trained on the real training images and stored in `--cache` for the next
run. The engine gets the teacher alone; the test images score the final student.
A row that is there (same settings, same revision) is not run again, unless with `--again`.
Other data: `--dataset parquet` or `folder`, with `--train` and `--test`.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.engine import teacher_training
from benchmarks.engine.data import DataMissing, data_dir, data_file, load_folder, load_images, normalise
from benchmarks.engine.recipe_facts import recipe_facts
from benchmarks.engine.snapshots import Snapshot, Snapshots, same_network
from benchmarks.engine.work import Work, updates_a_round
from benchmarks.machine_load import MachineLoad
from benchmarks.record import RESULTS, append, read, revision
from dfad_core.contract.config import BudgetConfig, DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.contract.errors import DfadError
from dfad_core.contract.methods import METHODS
from dfad_core.evaluation.accuracy import accuracy
from dfad_core.formats import load_teacher
from dfad_core.hooks import DistillResult
from dfad_core.networks import build_classifier
from dfad_core.networks.batch_norm import bn_layers
from dfad_core.training.distributed import current_group, from_environment
from dfad_core.training.profiling import TraceHooks, profiled
from dfad_core.training.runtime import resolve
from dfad_core.training.trainer import distill

FILE = "paper_table.jsonl"
NORMALISATION = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "mnist": ((0.1307,), (0.3081,)),
}
SIDES = {"mnist": 32}
"""Side to which a data set's images are resized."""


@dataclass(frozen=True)
class Split:
    """Normalised images (N, C, H, W) and their labels (N,)."""

    images_BCHW: Tensor
    labels_B: Tensor


@dataclass(frozen=True)
class Data:
    """Both splits, their input and number of classes."""

    train: Split
    test: Split
    input: InputConfig
    num_classes: int


def load_data(options: argparse.Namespace) -> Data:
    """The named data set, or the user's own. DataMissing where there is none."""
    raw = {}
    for split in ("train", "test"):
        option = getattr(options, split)
        if options.dataset == "folder":
            if option is None:
                raise DataMissing("--dataset folder needs --train and --test")
            raw[split] = load_folder(option)
        else:
            if options.dataset == "parquet" and option is None:
                raise DataMissing("--dataset parquet needs --train and --test")
            path = option or data_file(data_dir(options.data), f"{options.dataset}-{split}.parquet")
            if not path.is_file():
                raise DataMissing(f"{path} does not exist")
            raw[split] = load_images(path, count=options.limit)
    pixels = raw["train"][0].double() / 255
    mean, std = NORMALISATION.get(
        options.dataset, (tuple(pixels.mean((0, 2, 3)).tolist()), tuple(pixels.std((0, 2, 3)).tolist()))
    )
    side = SIDES.get(options.dataset)
    splits = {name: Split(normalise(x, mean, std, side=side), y) for name, (x, y) in raw.items()}
    if splits["train"].images_BCHW.shape[1:] != splits["test"].images_BCHW.shape[1:]:
        raise DataMissing("the images of both splits must have one size")
    channels, height, width = splits["train"].images_BCHW.shape[1:]
    classes = int(max(split.labels_B.max() for split in splits.values())) + 1
    given_input = InputConfig((channels, height, width), mean=mean, std=std)
    return Data(splits["train"], splits["test"], given_input, classes)


def get_teacher(
    options: argparse.Namespace, name: str, data: Data, device: torch.device
) -> tuple[nn.Module, float]:
    """The teacher, in eval mode on the CPU, and the seconds of its training (0 if it was there)."""
    shape = data.input.shape
    recipe = teacher_training.Recipe(epochs=options.teacher_epochs, mirror=options.dataset != "mnist")
    what = json.dumps([name, options.dataset, str(options.train), options.limit, shape, repr(recipe)])
    key = hashlib.sha256(what.encode()).hexdigest()[:12]
    path = options.teacher or options.cache / f"{options.dataset}-{name}-{key}.pt"
    seconds = 0.0
    if not path.is_file():
        if options.teacher is not None:
            raise DataMissing(f"{path} does not exist")
        start = time.monotonic()
        torch.manual_seed(recipe.seed)
        module = build_classifier(name, num_classes=data.num_classes, input_shape=shape)
        teacher_training.train(module, data.train.images_BCHW, data.train.labels_B, recipe, device)
        teacher_training.save(module, path)
        seconds = time.monotonic() - start
    loaded = load_teacher(path, architecture=name, num_classes=data.num_classes, input=data.input)
    return loaded.module, seconds


def config_for(options: argparse.Namespace, data: Data) -> DistillConfig:
    """The engine's defaults with the options of the command line."""
    names = (
        *("batch_size", "latent_dim", "generator_width", "student_optimizer", "student_learning_rate"),
        *("student_steps", "pool_batches", "inner_steps", "accumulation"),
    )
    training = {n: getattr(options, n) for n in names if getattr(options, n) is not None}
    budget: dict[str, Any] = {"steps": options.steps or 10_000_000, "train_seconds": options.seconds}
    if options.steps is None and options.seconds is None:
        budget["train_seconds"] = 900.0
    return DistillConfig(
        input=data.input,
        num_classes=data.num_classes,
        method=MethodConfig(options.method),
        budget=BudgetConfig(**budget),
        training=TrainingConfig(**training),
        device=options.device,
        seed=options.seed,
    )


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """Settings that identify a row."""
    left_out = {"again", "data", "cache", "profile"}
    return {k: str(v) if isinstance(v, Path) else v for k, v in vars(options).items() if k not in left_out}


def find_row(settings: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The row of these settings and of this revision, if there is one."""
    now = revision()
    for line in read(RESULTS / FILE):
        if line["settings"] == settings and line["git_revision"] == now["git_revision"] and line["git_clean"]:
            return line
    return None


def scored(
    teacher: nn.Module, work: Work, result: DistillResult, snapshots: Snapshots, data: Data
) -> dict[str, Any]:
    """Accuracies on the test split as fields of the row.

    Of the teacher, of the final student, over time (`curve`), at doubling amounts of work (`checkpoints`).
    """
    x, y = data.test.images_BCHW, data.test.labels_B
    spare = copy.deepcopy(result.student)

    def point(seconds: float, step: int, queries: int, share: float) -> dict[str, Any]:
        pflop = float(f"{work.petaflop(step, queries):.4g}")
        figures = {"seconds": round(seconds, 1), "step": step, "queries": queries}
        return {**figures, "pflop": pflop, "accuracy": share}

    def of_shot(shot: Snapshot) -> dict[str, Any]:
        share = accuracy(same_network(spare, shot.weights), x, y)
        return point(shot.seconds, shot.step, shot.queries, share)

    of_teacher, of_student = accuracy(teacher.cpu(), x, y), accuracy(result.student, x, y)
    last = point(result.seconds, result.steps, int(result.metrics["teacher_queries"]), of_student)
    return {
        "teacher_accuracy": round(of_teacher, 4),
        "student_accuracy": round(of_student, 4),
        "gap": round(of_teacher - of_student, 4),
        "curve": [*map(of_shot, snapshots.tenths), last],
        "checkpoints": [*map(of_shot, snapshots.checkpoints)],
        "pflop": last["pflop"],
        "tflops": float(f"{1000 * last['pflop'] / result.seconds:.3g}"),
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.paper_table", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    datasets = (*NORMALISATION, "parquet", "folder")
    parser.add_argument("--dataset", default="cifar10", choices=datasets)
    parser.add_argument("--train", type=Path, help="parquet file or folder of training images")
    parser.add_argument("--test", type=Path, help="the same of test images")
    parser.add_argument("--pair", default="resnet34:resnet18", help="teacher:student")
    parser.add_argument("--method", default="best", choices=list(METHODS))
    parser.add_argument("--seconds", type=float, help="of training; without --steps 900")
    parser.add_argument("--steps", type=int, help="rounds, instead of seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--teacher", type=Path, help="state dict; without it a teacher is trained")
    parser.add_argument("--teacher-epochs", type=int, default=30)
    parser.add_argument("--cache", type=Path, default=Path("teachers"), help="folder of trained teachers")
    parser.add_argument("--data", help="data folder; else DFAD_DATA_DIR, else ../shared/data")
    parser.add_argument("--limit", type=int, help="number of images of each split")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    for name in ("batch-size", "latent-dim", "generator-width", "student-steps", "pool-batches"):
        parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--inner-steps", type=int)
    parser.add_argument("--accumulation", type=int)
    parser.add_argument("--student-optimizer", choices=("sgd", "adam"))
    parser.add_argument("--student-learning-rate", type=float)
    parser.add_argument("--profile", type=Path, help="folder for a table of where the time goes and a trace")
    parser.add_argument("--again", action="store_true", help="run a row that is there")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """One row: run it unless it is there, append it, print it."""
    options = parse(arguments)
    line = None if options.again or options.profile else find_row(settings_of(options))
    try:
        line = line or run_row(options)
    except (DataMissing, DfadError) as error:
        sys.exit(f"benchmarks.paper_table: {error}")
    if line:
        print(
            f"PAPER_TABLE dataset={options.dataset} pair={options.pair} method={options.method} "
            f"accuracy={line['student_accuracy']:.4f} teacher_accuracy={line['teacher_accuracy']:.4f} "
            f"gap={line['gap']:.4f} seconds={line['seconds']:.0f} "
            f"teacher_seconds={line['teacher_seconds']:.0f} pflop={line['pflop']:.3g} "
            f"tflops={line['tflops']:.3g}"
        )


def run_row(options: argparse.Namespace) -> dict[str, Any] | None:
    """Teacher, distillation, score; None in a process that does not report, and for a profile."""
    teacher_name, _, student_name = options.pair.partition(":")
    data = load_data(options)
    config = config_for(options, data)
    device = resolve(config).device
    teacher, teacher_seconds = get_teacher(options, teacher_name, data, device)
    torch.manual_seed(options.seed)
    student = build_classifier(student_name, num_classes=data.num_classes, input_shape=data.input.shape)
    facts = recipe_facts(config, teacher_has_bn=bool(bn_layers(teacher)))
    work = Work(config, teacher, student)
    seconds = options.seconds or float(options.steps or 900)
    snapshots = Snapshots(student, seconds, updates_a_round=updates_a_round(config, teacher))
    load = MachineLoad()
    start = time.monotonic()
    if options.profile:
        with profiled() as profile, TraceHooks(options.profile, snapshots) as hooks:
            distill(teacher, student, config, hooks)
        print(profile.table())
        return None
    result = distill(teacher, student, config, snapshots)
    elapsed = time.monotonic() - start
    if current_group().rank > 0:
        return None
    figures = {
        "benchmark": "paper_table",
        "dataset": f"{options.dataset}-test",
        "pair": options.pair,
        "method": options.method,
        **facts,
        "budget_seconds": options.seconds,
        **load.figures(),
        **scored(teacher, work, result, snapshots, data),
        "seconds": round(elapsed, 1),
        "teacher_seconds": round(teacher_seconds, 3),
        "seed": options.seed,
        "steps": result.steps,
        "updates_a_round": updates_a_round(config, teacher),
        "processes": current_group().size,
        "fidelity": {name: round(value, 5) for name, value in result.fidelity.items()},
        "settings": settings_of(options),
    }
    torch.set_num_threads(result.threads)  # the number that the line records
    return append(RESULTS / FILE, figures, device)


if __name__ == "__main__":
    with from_environment():
        main()
