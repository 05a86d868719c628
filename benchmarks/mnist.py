"""LeNet-5 to LeNet-5-half without data, within a number of seconds, scored on MNIST.

    python -m benchmarks.mnist --seconds 120

The engine gets the teacher alone. Real images are loaded for scoring, after training. The test set is
scored in runs that are reported; `--split train` scores on the first 10,000 training images instead, and
settings may be chosen by that alone. A result line whose run had a neighbour on the machine says so.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.engine.data import DataMissing, data_dir, data_file, load_images, normalise
from benchmarks.engine.recipe_facts import recipe_facts
from benchmarks.engine.snapshots import Snapshot, Snapshots, same_network
from benchmarks.engine.work import Work, updates_a_round
from benchmarks.machine_load import MachineLoad, warning
from benchmarks.record import RESULTS, append
from dfad_core.contract.config import BudgetConfig, DistillConfig, InputConfig, MethodConfig
from dfad_core.contract.machine import usable_processors
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

INPUT = InputConfig((1, 32, 32), mean=(0.1307,), std=(0.3081,))
TEACHER, STUDENT = "lenet5", "lenet5_half"
SLICE = 10_000
"""Training images scored with `--split train`."""


def config_for(seconds: float, seed: int, method: str, device: str) -> DistillConfig:
    """The engine's defaults with `seconds` for the whole run, 4 % of them for the closing evaluation."""
    reserve = min(max(1.5, 0.04 * seconds), 5.0, 0.5 * seconds)
    return DistillConfig(
        input=INPUT,
        method=MethodConfig(method),
        budget=BudgetConfig(steps=10_000_000, train_seconds=seconds - reserve),
        device=device,  # type: ignore[arg-type]
        seed=seed,
    )


def run(
    teacher: nn.Module, config: DistillConfig, seconds: float, *, trace: Path | None = None
) -> tuple[DistillResult, Snapshots, float]:
    """Distil a new student; the result, the copies on the way, and the seconds of all of it."""
    torch.manual_seed(config.seed)
    student = build_classifier(STUDENT, num_classes=10, input_shape=INPUT.shape)
    snapshots = Snapshots(student, seconds, updates_a_round=updates_a_round(config, teacher))
    start = time.monotonic()
    with nullcontext(snapshots) if trace is None else TraceHooks(trace, snapshots) as hooks:
        result = distill(teacher, student, config, hooks)
    return result, snapshots, time.monotonic() - start


def score(
    teacher: nn.Module,
    config: DistillConfig,
    result: DistillResult,
    snapshots: Snapshots,
    *,
    seconds: float,
    images: tuple[Tensor, Tensor],
) -> dict[str, Any]:
    """Accuracies on labelled images as fields of the result line.

    Of the teacher, of the final student, over time (`curve`), at doubling amounts of work (`checkpoints`).
    """
    x_BCHW, labels_B = images
    copy = build_classifier(STUDENT, num_classes=10, input_shape=INPUT.shape)
    work = Work(config, teacher.cpu(), copy)

    def point(seconds: float, step: int, queries: int, share: float) -> dict[str, float]:
        pflop = work.petaflop(step, queries)
        figures = {"seconds": round(seconds, 1), "step": step, "queries": queries}
        return {**figures, "pflop": float(f"{pflop:.4g}"), "accuracy": share}

    def scored(shot: Snapshot) -> dict[str, float]:
        share = accuracy(same_network(copy, shot.weights), x_BCHW, labels_B)
        return point(shot.seconds, shot.step, shot.queries, share)

    final = accuracy(result.student, x_BCHW, labels_B)
    last = point(seconds, result.steps, int(result.metrics["teacher_queries"]), final)
    return {
        "teacher_accuracy": round(accuracy(teacher, x_BCHW, labels_B), 4),
        "student_accuracy": round(final, 4),
        "curve": [*map(scored, snapshots.tenths), last],
        "checkpoints": [*map(scored, snapshots.checkpoints)],
    }


def real_images(folder: Path, split: str) -> tuple[Tensor, Tensor]:
    """Normalised images and labels of the split."""
    count = SLICE if split == "train" else None
    images_BCHW, labels_B = load_images(data_file(folder, f"mnist-{split}.parquet"), count=count)
    assert INPUT.mean is not None
    assert INPUT.std is not None
    return normalise(images_BCHW, INPUT.mean, INPUT.std, side=INPUT.shape[1]), labels_B


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mnist", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seconds", type=float, default=120, help="for the whole distillation")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--method", default="best", choices=list(METHODS), metavar="NAME")
    parser.add_argument("--split", default="test", choices=("test", "train"), help="what to score on")
    parser.add_argument("--data", help="data folder; else DFAD_DATA_DIR, else ../shared/data")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--processors", type=processors, help="processor numbers to run on, such as 0,1")
    parser.add_argument("--profile", type=Path, help="folder for a table of where the time goes and a trace")
    parser.add_argument("--runs-beside", type=int, default=0, help="recorded: simultaneous runs of the table")
    return parser.parse_args(arguments)


def processors(text: str) -> list[int]:
    """Comma-separated processor numbers."""
    return [int(number) for number in text.split(",")]


def main(arguments: list[str] | None = None) -> None:
    """Distil, score, print the table, append a result line."""
    options = parse(arguments)
    if options.processors:
        os.sched_setaffinity(0, options.processors)
    try:
        folder = data_dir(options.data)
        teacher_file = data_file(folder, "teachers/mnist-lenet5.pt")
        images = real_images(folder, options.split)
    except DataMissing as error:
        sys.exit(f"benchmarks.mnist: {error}")
    teacher = load_teacher(teacher_file, architecture=TEACHER, num_classes=10, input=INPUT).module
    config = config_for(options.seconds, options.seed, options.method, options.device)
    torch.set_num_threads(min(torch.get_num_threads(), usable_processors()))
    if current_group().rank > 0:
        run(teacher, config, options.seconds)  # the first process reports
        return
    load = MachineLoad()
    if options.profile:
        with profiled() as profile:
            run(teacher, config, options.seconds, trace=options.profile)
        (options.profile / "table.txt").write_text(profile.table() + "\n")
        print(profile.table())
        return
    result, snapshots, seconds = run(teacher, config, options.seconds)
    others = load.figures()
    scores = score(teacher, config, result, snapshots, seconds=seconds, images=images)
    torch.set_num_threads(result.threads)  # the number that the line records
    _print_curve(scores["curve"])
    line = append(
        RESULTS / "mnist.jsonl",
        {
            "benchmark": "mnist",
            "dataset": f"mnist-{options.split}",
            "pair": f"{TEACHER}:{STUDENT}",
            "method": options.method,
            **recipe_facts(config, teacher_has_bn=bool(bn_layers(teacher))),
            **scores,
            "budget_seconds": options.seconds,
            "seconds": round(seconds, 1),
            "seed": options.seed,
            "steps": result.steps,
            "updates_a_round": updates_a_round(config, teacher),
            "processes": current_group().size,
            "runs_beside": options.runs_beside,
            **others,
            "fidelity": {name: round(value, 5) for name, value in result.fidelity.items()},
        },
        resolve(config).device,
    )
    if (sentence := warning(others)) is not None:
        print(sentence)
    print(
        f"MNIST accuracy={line['student_accuracy']:.4f} teacher_accuracy={line['teacher_accuracy']:.4f} "
        f"seconds={seconds:.0f} method={options.method}"
    )


def _print_curve(curve: list[dict[str, float]]) -> None:
    print(f"{'seconds':>8} {'step':>7} {'accuracy':>9}")
    for point in curve:
        print(f"{point['seconds']:8.1f} {point['step']:7.0f} {point['accuracy']:9.4f}")


if __name__ == "__main__":
    with from_environment():
        main()
