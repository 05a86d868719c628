"""MNIST without MNIST: LeNet-5 to LeNet-5-half within a number of seconds, scored on real digits.

    python -m benchmarks.mnist --seconds 120

The engine sees the teacher alone. Real images are loaded for scoring, after training. The test set
is for the run that is reported; `--split train` scores on the first 10,000 training images instead,
and is what any setting may be chosen by.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.bystanders import Bystanders
from benchmarks.data import DataMissing, data_dir, data_file, load_images, normalise
from benchmarks.record import RESULTS, append
from benchmarks.snapshots import Snapshots, same_network
from dfad_core.contract.config import BudgetConfig, DistillConfig, InputConfig, MethodConfig
from dfad_core.contract.methods import METHODS
from dfad_core.evaluation.accuracy import accuracy
from dfad_core.formats import load_teacher
from dfad_core.networks import build_classifier
from dfad_core.profiling import TraceHooks, profiled
from dfad_core.training.distributed import current_group, from_environment
from dfad_core.training.runtime import resolve, usable_processors
from dfad_core.training.trainer import DistillResult, distill

INPUT = InputConfig((1, 32, 32), mean=(0.1307,), std=(0.3081,))
TEACHER, STUDENT = "lenet5", "lenet5_half"
SLICE = 10_000
"""Training images that `--split train` scores on."""


def config_for(seconds: float, seed: int, method: str, device: str) -> DistillConfig:
    """The engine's defaults, with `seconds` for everything it does; 4 % of them to evaluate at the end."""
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
    """Distil a new student; its result, the copies made on the way, and the seconds it took in all."""
    torch.manual_seed(config.seed)
    student = build_classifier(STUDENT, num_classes=10, input_shape=INPUT.shape)
    snapshots = Snapshots(student, seconds)
    start = time.monotonic()
    with nullcontext(snapshots) if trace is None else TraceHooks(trace, snapshots) as hooks:
        result = distill(teacher, student, config, hooks)
    return result, snapshots, time.monotonic() - start


def score(
    teacher: nn.Module,
    result: DistillResult,
    snapshots: Snapshots,
    took: float,
    images: tuple[Tensor, Tensor],
) -> tuple[float, float, list[dict[str, float]]]:
    """Accuracy of the teacher, of the final student, and of the student over time."""
    x_BCHW, labels_B = images
    copy = build_classifier(STUDENT, num_classes=10, input_shape=INPUT.shape)
    curve = [
        {
            "seconds": round(shot.seconds, 1),
            "step": shot.step,
            "queries": shot.queries,
            "accuracy": accuracy(same_network(copy, shot.weights), x_BCHW, labels_B),
        }
        for shot in snapshots.taken
    ]
    final = accuracy(result.student, x_BCHW, labels_B)
    queries = int(result.metrics["teacher_queries"])
    curve.append({"seconds": round(took, 1), "step": result.steps, "queries": queries, "accuracy": final})
    return accuracy(teacher.cpu(), x_BCHW, labels_B), final, curve


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
    parser.add_argument("--processors", type=processors, help="numbers of those to stay on, such as 0,1")
    parser.add_argument("--profile", type=Path, help="folder for a table of where the time goes and a trace")
    parser.add_argument("--runs-beside", type=int, default=0, help="for the record: runs on other processors")
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
    others = Bystanders()
    if options.profile:
        with profiled() as profile:
            run(teacher, config, options.seconds, trace=options.profile)
        (options.profile / "table.txt").write_text(profile.table() + "\n")
        print(profile.table())
        return
    result, snapshots, took = run(teacher, config, options.seconds)
    busy, warning = others.processors(), others.warning()
    teacher_accuracy, final, curve = score(teacher, result, snapshots, took, images)
    torch.set_num_threads(result.threads)  # what the line says of the machine
    print(f"{'seconds':>8} {'step':>7} {'accuracy':>9}")
    for point in curve:
        print(f"{point['seconds']:8.1f} {point['step']:7.0f} {point['accuracy']:9.4f}")
    append(
        RESULTS / "mnist.jsonl",
        {
            "benchmark": "mnist",
            "dataset": f"mnist-{options.split}",
            "pair": f"{TEACHER}:{STUDENT}",
            "method": options.method,
            "teacher_accuracy": round(teacher_accuracy, 4),
            "student_accuracy": round(final, 4),
            "budget_seconds": options.seconds,
            "seconds": round(took, 1),
            "seed": options.seed,
            "steps": result.steps,
            "processes": current_group().size,
            "runs_beside": options.runs_beside,
            "others_processors": None if busy is None else round(busy, 2),
            "curve": curve,
            "fidelity": {name: round(value, 5) for name, value in result.fidelity.items()},
        },
        resolve(config).device,
    )
    if warning is not None:
        print(warning)
    print(
        f"MNIST accuracy={final:.4f} teacher_accuracy={teacher_accuracy:.4f} "
        f"seconds={took:.0f} method={options.method}"
    )


if __name__ == "__main__":
    with from_environment():
        main()
