"""Time of a training step: the engine's loop and the plain loop, alternately in one process.

    python -m benchmarks.step_time
    python -m benchmarks.step_time --pair resnet34:resnet18 --batch-size 256 --latent-dim 256

Same networks, batch, generator width and latent length; five student updates and one of the
generator in every round of either loop. `ratio` is with the pool off: every student update of
the engine then has images of its own, as in the plain loop (one of the five takes the images of the
generator's update). `ratio_with_pool` is the default engine.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from benchmarks.engine.plain import STUDENT_STEPS, PlainGenerator, PlainLoop
from benchmarks.machine_load import MachineLoad, warning
from benchmarks.record import RESULTS, append
from dfad_core.contract.config import BudgetConfig, DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.contract.errors import Stopped
from dfad_core.contract.machine import usable_processors
from dfad_core.contract.methods import get_method
from dfad_core.hooks import Hooks
from dfad_core.networks import build_classifier
from dfad_core.training.trainer import distill

WARM_UP = 1
"""Untimed rounds at the start of every turn."""
GRAPHS_WARM_UP = 5
"""The same with CUDA graphs, which are recorded in the first four rounds."""


@dataclass(frozen=True)
class Case:
    """Networks and settings of both loops."""

    teacher: str
    student: str
    shape: tuple[int, int, int]
    num_classes: int
    batch_size: int
    generator_width: int
    latent_dim: int
    timed: int
    """Timed rounds of one turn."""
    device: torch.device
    warm_up: int = WARM_UP

    def networks(self) -> tuple[nn.Module, nn.Module]:
        """Teacher and student; time does not depend on their weights."""
        torch.manual_seed(0)
        teacher, student = (
            build_classifier(name, num_classes=self.num_classes, input_shape=self.shape)
            for name in (self.teacher, self.student)
        )
        return teacher, student


class StopWatch(Hooks):
    """Times of the engine's rounds; stops the run after the last timed one."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._marks: list[float] = []

    def should_stop(self) -> str | None:
        """Called by the engine after every round."""
        self._marks.append(now(self._case.device))
        return "measured" if len(self._marks) > self._case.warm_up + self._case.timed - 1 else None

    @property
    def seconds(self) -> float:
        """Of one round, without the warm-up."""
        return (self._marks[-1] - self._marks[self._case.warm_up - 1]) / self._case.timed


def now(device: torch.device) -> float:
    """Seconds of the clock after all work of the device has ended."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def time_plain(case: Case) -> float:
    """Seconds of one round of the plain loop."""
    teacher, student = (network.to(case.device) for network in case.networks())
    generator = PlainGenerator(case.latent_dim, case.generator_width, case.shape).to(case.device)
    loop = PlainLoop(teacher, student, generator, latent_dim=case.latent_dim, batch_size=case.batch_size)
    for _ in range(case.warm_up):
        loop.run_round()
    start = now(case.device)
    for _ in range(case.timed):
        loop.run_round()
    return (now(case.device) - start) / case.timed


def engine_config(case: Case, pool_batches: int, *, graphs: bool = False) -> DistillConfig:
    """The engine's config with a pool of that many batches."""
    return DistillConfig(
        input=InputConfig(case.shape),
        num_classes=case.num_classes,
        method=MethodConfig("dfad"),
        budget=BudgetConfig(steps=10_000),
        training=TrainingConfig(
            batch_size=case.batch_size,
            student_steps=STUDENT_STEPS,
            pool_batches=pool_batches,
            student_optimizer="sgd",
            latent_dim=case.latent_dim,
            generator_width=case.generator_width,
            cuda_graphs=graphs,
            threads=torch.get_num_threads(),  # as many as the plain loop's
        ),
        device="cuda" if case.device.type == "cuda" else "cpu",
    )


def time_engine(case: Case, pool_batches: int, *, graphs: bool = False) -> float:
    """Seconds of one round of `distill`, its reports included."""
    watch = StopWatch(case)
    try:
        distill(*case.networks(), engine_config(case, pool_batches, graphs=graphs), watch)
    except Stopped:
        return watch.seconds
    raise AssertionError("the engine did not stop")


def measure(
    case: Case, rounds: int, report: Callable[[str], None] = print, *, graphs: bool = False
) -> dict[str, float]:
    """Median seconds of one student step (a round's share) for each loop, over `rounds` turns.

    `graphs` adds the engine with its pool and with CUDA graphs.
    """
    default_pool = get_method("dfad").recipe.pool_batches
    loops: dict[str, Callable[[], float]] = {
        "plain": lambda: time_plain(case),
        "engine": lambda: time_engine(case, 0),
        "engine_with_pool": lambda: time_engine(case, default_pool),
    }
    if graphs:
        recorded = replace(case, warm_up=GRAPHS_WARM_UP)
        loops["engine_with_graphs"] = lambda: time_engine(recorded, default_pool, graphs=True)
    times: dict[str, list[float]] = {name: [] for name in loops}
    for number in range(rounds):
        for name, run in loops.items():
            times[name].append(run() / STUDENT_STEPS)
        figures = "  ".join(f"{name} {seconds[-1]:.4f} s" for name, seconds in times.items())
        report(f"turn {number + 1}: a student step takes  {figures}")
    return {f"{name}_seconds": statistics.median(seconds) for name, seconds in times.items()}


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_time", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--pair", default="lenet5:lenet5_half", help="teacher:student of the catalogue")
    parser.add_argument("--shape", help="CxHxW; default 1x32x32 for LeNet, else 3x32x32")
    parser.add_argument("--num-classes", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--generator-width", type=int, default=64)
    parser.add_argument("--latent-dim", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each loop; the median counts")
    parser.add_argument("--timed", type=int, help="rounds of training in a turn; default 1, on CUDA 20")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    return parser.parse_args(arguments)


def case_from(options: argparse.Namespace) -> Case:
    """The case of the command line."""
    teacher, _, student = options.pair.partition(":")
    shape = options.shape or ("1x32x32" if teacher.startswith("lenet") else "3x32x32")
    channels, height, width = (int(side) for side in shape.split("x"))
    use_cuda = options.device == "cuda" or (options.device == "auto" and torch.cuda.is_available())
    return Case(
        teacher=teacher,
        student=student,
        shape=(channels, height, width),
        num_classes=options.num_classes,
        batch_size=options.batch_size,
        generator_width=options.generator_width,
        latent_dim=options.latent_dim,
        timed=options.timed or (20 if use_cuda else 1),
        device=torch.device("cuda" if use_cuda else "cpu"),
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure, append a result line, print the ratios."""
    options = parse(arguments)
    case = case_from(options)
    torch.set_num_threads(min(torch.get_num_threads(), usable_processors()))
    print(f"{options.pair} {case.shape} batch {case.batch_size} generator width {case.generator_width}")
    load = MachineLoad()
    figures = measure(case, options.rounds)
    others = load.figures()
    ratio = figures["plain_seconds"] / figures["engine_seconds"]
    with_pool = figures["plain_seconds"] / figures["engine_with_pool_seconds"]
    append(
        RESULTS / "step_time.jsonl",
        {
            "benchmark": "step_time",
            "pair": options.pair,
            "method": "dfad",
            "shape": list(case.shape),
            "batch_size": case.batch_size,
            "generator_width": case.generator_width,
            "latent_dim": case.latent_dim,
            "turns": options.rounds,
            "timed_rounds": case.timed,
            **{name: round(seconds, 6) for name, seconds in figures.items()},
            "ratio": round(ratio, 2),
            "ratio_with_pool": round(with_pool, 2),
            **others,
        },
        case.device,
    )
    if (sentence := warning(others)) is not None:
        print(sentence)
    print(f"STEP_TIME ratio={ratio:.1f} ratio_with_pool={with_pool:.1f}")


if __name__ == "__main__":
    main()
