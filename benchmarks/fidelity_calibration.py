"""Rank correlation of figures without data with true accuracy, over many small jobs.

    python -m benchmarks.fidelity_calibration --dataset digits
    python -m benchmarks.fidelity_calibration --dataset mnist
    python -m benchmarks.fidelity_calibration --table-only --write

A job is a method, a number of rounds and a seed; students of all qualities are needed. A result line is one
job with every signal and its true accuracy; jobs that have a line are not run again. The table is Spearman's
rank correlation of each signal with accuracy. `--write` stores it for the engine's reports. MNIST is scored
on the first 10,000 training images, so that reports may choose their figures by it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks import mnist
from benchmarks.data import DataMissing, data_dir, data_file
from benchmarks.machine_load import MachineLoad
from benchmarks.record import RESULTS, append, read
from dfad_core.contract.config import BudgetConfig, DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.contract.methods import METHODS
from dfad_core.evaluation import proof
from dfad_core.evaluation.accuracy import accuracy
from dfad_core.formats import load_teacher
from dfad_core.networks import build_classifier
from dfad_core.training.trainer import distill

FILE = RESULTS / "fidelity_calibration.jsonl"
LEAST_JOBS = 12
"""Smallest number of jobs with a signal for a correlation."""
DATASETS = ("digits", "mnist")
STEPS = {"digits": [10, 40, 160, 640], "mnist": [4, 16, 64, 256]}
DIGITS_TEACHER = Path(__file__).resolve().parents[1] / "examples" / "digits" / "teacher.safetensors"

Setup = tuple[Callable[[], nn.Module], Callable[[], nn.Module], InputConfig, tuple[Tensor, Tensor]]


def setup(dataset: str, data: str | None) -> Setup:
    """Constructors of teacher and student, their input, and labelled images for scoring."""
    if dataset == "digits":
        from examples.digits.data import MEAN, SHAPE, STD, digits

        input_config = InputConfig(SHAPE, (MEAN,), (STD,))
        images = digits()[1]
        path, names, args = DIGITS_TEACHER, ("cnn8", "cnn8"), {"width": 9}
    else:
        folder = data_dir(data)
        input_config, images = mnist.INPUT, mnist.real_images(folder, "train")
        path, names, args = data_file(folder, "teachers/mnist-lenet5.pt"), (mnist.TEACHER, mnist.STUDENT), {}

    def teacher() -> nn.Module:
        return load_teacher(path, architecture=names[0], num_classes=10, input=input_config).module

    def student() -> nn.Module:
        return build_classifier(names[1], num_classes=10, input_shape=input_config.shape, args=args)

    return teacher, student, input_config, images


def run_job(dataset: str, parts: Setup, method: str, steps: int, seed: int) -> None:
    """One job, one line."""
    teacher_of, student_of, input_config, (x, y) = parts
    teacher = teacher_of()
    torch.manual_seed(seed)
    config = DistillConfig(
        input=input_config,
        method=MethodConfig(method),
        budget=BudgetConfig(steps=steps),
        training=TrainingConfig(student_steps=5, pool_batches=20, inner_steps=5, threads=1),
        device="cpu",
        seed=seed,
    )
    load, start = MachineLoad(), time.monotonic()
    result = distill(teacher, student_of(), config)
    others = load.figures()
    figures = {
        "benchmark": "fidelity_calibration",
        "dataset": dataset,
        "method": method,
        "steps": steps,
        "seed": seed,
        "seconds": round(time.monotonic() - start, 1),
        "accuracy": round(accuracy(result.student, x, y), 4),
        "teacher_accuracy": round(accuracy(teacher, x, y), 4),
        **others,
        "signals": {name: round(value, 6) for name, value in result.fidelity.items()},
    }
    line = append(FILE, figures, torch.device("cpu"))
    print(f"{dataset} {method} steps={steps} seed={seed} accuracy={line['accuracy']:.4f}", flush=True)


def ranks(values: Sequence[float]) -> NDArray[np.float64]:
    """1 for the smallest; equal values share the mean of their ranks."""
    array = np.asarray(values, dtype=np.float64)
    _, inverse, counts = np.unique(array, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    all_ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return all_ranks


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """Pearson's correlation of the ranks (Spearman 1904); 0 where one of them does not vary."""
    a, b = ranks(first), ranks(second)
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def correlations(lines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """signal -> data set -> correlation with accuracy, of signals that enough jobs have."""
    rhos: dict[str, dict[str, float]] = {}
    for dataset in sorted({line["dataset"] for line in lines}):
        jobs = [line for line in lines if line["dataset"] == dataset]
        for signal in sorted({name for line in jobs for name in line["signals"]}):
            having = [line for line in jobs if signal in line["signals"]]
            if len(having) >= LEAST_JOBS:
                rho = spearman([j["signals"][signal] for j in having], [j["accuracy"] for j in having])
                rhos.setdefault(signal, {})[dataset] = round(rho, 3)
    return rhos


def table(rhos: Mapping[str, Mapping[str, float]]) -> str:
    """One row a signal, the strongest first; those that reports may show are marked."""
    shown = proof.proven(rhos)
    rows = [f"{'signal':<36} {'digits':>8} {'mnist':>8}  shown"]
    for signal in sorted(rhos, key=lambda s: -min(proof.expected_sign(s) * r for r in rhos[s].values())):
        cells = [f"{rhos[signal][d]:8.3f}" if d in rhos[signal] else f"{'-':>8}" for d in DATASETS]
        rows.append(f"{signal:<36} {cells[0]} {cells[1]}  {'yes' if signal in shown else 'no'}")
    return "\n".join(rows)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fidelity_calibration", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--dataset", nargs="+", default=list(DATASETS), choices=DATASETS)
    parser.add_argument(
        "--methods", nargs="+", default=["dfad", "dafl", "best", "level_sets"], choices=list(METHODS)
    )
    parser.add_argument("--steps", type=int, nargs="+", help="rounds; else a few numbers for each data set")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", help="data folder; else DFAD_DATA_DIR, else ../shared/data")
    parser.add_argument("--table-only", action="store_true", help="run nothing")
    parser.add_argument(
        "--write", action="store_true", help="store the correlations for the engine's reports"
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing, print the table."""
    options = parse(arguments)
    if not options.table_only:
        torch.set_num_threads(1)
        try:
            for dataset in options.dataset:
                run_missing(dataset, options)
        except DataMissing as error:
            sys.exit(f"benchmarks.fidelity_calibration: {error}")
    lines = read(FILE)
    rhos = correlations(lines)
    print(table(rhos))
    if options.write:
        jobs = {d: sum(line["dataset"] == d for line in lines) for d in DATASETS}
        proof.FILE.write_text(json.dumps({"jobs": jobs, "correlations": rhos}, indent=1) + "\n")


def run_missing(dataset: str, options: argparse.Namespace) -> None:
    """The jobs of one data set that have no line yet."""
    there = {(line["dataset"], line["method"], line["steps"], line["seed"]) for line in read(FILE)}
    parts = setup(dataset, options.data)
    for method in options.methods:
        for steps in options.steps or STEPS[dataset]:
            for seed in options.seeds:
                if (dataset, method, steps, seed) not in there:
                    run_job(dataset, parts, method, steps, seed)


if __name__ == "__main__":
    main()
