"""Parts of the GPU pass: every method for some rounds, and the time of a training step."""

from __future__ import annotations

import functools
import gc
import statistics
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from benchmarks.engine.plain import STUDENT_STEPS
from benchmarks.engine.work import Work
from benchmarks.paper_table import NORMALISATION
from benchmarks.step_time import Case, engine_config, measure, now, time_engine
from dfad_core.contract.config import BudgetConfig, DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.contract.errors import Stopped
from dfad_core.contract.methods import get_method
from dfad_core.hooks import Hooks
from dfad_core.networks import build_classifier
from dfad_core.training.profiling import profiled
from dfad_core.training.trainer import distill

LAST_ROUNDS = 5
"""Last rounds of a run; their median is its time of a round."""
PROFILED_ROUNDS = 3


@dataclass(frozen=True)
class Scale:
    """Sizes of everything: of the pass itself, or of a trial within a minute on one core."""

    name: str
    input: InputConfig
    num_classes: int
    tried: tuple[tuple[str, int], tuple[str, int]]
    """Teacher and student of the methods' runs, each with its width."""
    trial: TrainingConfig
    rounds: int
    speed: tuple[str, str]
    speed_generator: tuple[int, int]
    """Width and length of z."""
    speed_batches: tuple[int, ...]
    timed: int
    turns: int
    matrix: int
    """Side of the square matrices whose product is timed."""
    pairs: tuple[tuple[str, str], ...]
    """Teachers and students to train."""
    batch_size: int
    most_epochs: int
    most_seconds: float
    """Bound of a student's training."""
    least: dict[str, float]
    """Smallest time in seconds with which a part of a stage is started; 0 for stages without an entry."""


CIFAR = InputConfig((3, 32, 32), mean=NORMALISATION["cifar10"][0], std=NORMALISATION["cifar10"][1])

FULL = Scale(
    name="full",
    input=CIFAR,
    num_classes=10,
    tried=(("resnet8", 16), ("resnet8", 8)),
    trial=TrainingConfig(
        batch_size=64, student_steps=3, inner_steps=3, pool_batches=6, latent_dim=64, generator_width=16
    ),
    rounds=20,
    speed=("resnet34", "resnet18"),
    speed_generator=(64, 256),
    speed_batches=(256, 1024),
    timed=10,
    turns=3,
    matrix=8192,
    pairs=(("wrn_40_2", "wrn_16_1"), ("resnet34", "resnet18")),
    batch_size=256,
    most_epochs=30,
    most_seconds=86_400,
    least={"speed": 10, "teachers": 15, "students": 10},
)

TINY = Scale(
    name="tiny",
    input=InputConfig((1, 8, 8), mean=(0.5,), std=(0.25,)),
    num_classes=4,
    tried=(("cnn8", 4), ("mlp8", 8)),
    trial=TrainingConfig(
        batch_size=8, student_steps=2, inner_steps=2, pool_batches=4, latent_dim=8, generator_width=4
    ),
    rounds=4,
    speed=("cnn8", "mlp8"),
    speed_generator=(4, 8),
    speed_batches=(8, 16),
    timed=1,
    turns=1,
    matrix=64,
    pairs=(("cnn8", "mlp8"), ("resnet8", "cnn8")),
    batch_size=8,
    most_epochs=2,
    most_seconds=0.3,
    least={},
)


class Halves(Hooks):
    """Times of the rounds and the newest checkpoint; stops after `stop_after` rounds."""

    def __init__(self, device: torch.device, stop_after: int | None = None) -> None:
        self._device, self._stop_after = device, stop_after
        self.times: list[float] = []
        self.data: bytes | None = None

    def checkpoint(self, step: int, data: bytes) -> None:
        """Replaces the older one."""
        self.data = data

    def should_stop(self) -> str | None:
        """Called by the engine after every round."""
        self.times.append(now(self._device))
        return "half of the rounds" if len(self.times) == self._stop_after else None


def preset(scale: Scale, device: torch.device, method: str, *, graphs: bool) -> dict[str, Any]:
    """A run of `method` that is stopped after half of its rounds and resumed; its student must be finite."""
    torch.manual_seed(0)
    teacher, student, resumed = (
        build_classifier(
            name, num_classes=scale.num_classes, input_shape=scale.input.shape, args={"width": width}
        )
        for name, width in (*scale.tried, scale.tried[1])
    )
    _settle(teacher, scale)
    config = DistillConfig(
        input=scale.input,
        num_classes=scale.num_classes,
        method=MethodConfig(method),
        budget=BudgetConfig(steps=scale.rounds),
        training=replace(scale.trial, cuda_graphs=graphs),
        device="cuda" if device.type == "cuda" else "cpu",
    )
    first, second = Halves(device, scale.rounds // 2), Halves(device)
    try:
        distill(teacher, student, config, first)
    except Stopped:
        pass
    else:
        raise AssertionError("the engine did not stop")
    release(device)  # the first half's recordings must not be freed during another recording
    result = distill(teacher, resumed, config, second, resume=first.data)
    if result.steps != scale.rounds:
        raise AssertionError(f"the resumed run ended after {result.steps} rounds, not {scale.rounds}")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in result.student.state_dict().values()):
        raise FloatingPointError("the student's weights are not finite")
    rounds = [after - before for before, after in pairwise(second.times[-LAST_ROUNDS - 1 :])]
    return {
        "method": method,
        "graphs": graphs,
        "rounds": result.steps,
        "round_seconds": round(statistics.median(rounds), 6),
        "agreement": round(result.metrics["agreement"], 4),
    }


@torch.no_grad()
def _settle(teacher: nn.Module, scale: Scale) -> None:
    """Give an untrained teacher BN statistics of its own, which methods need."""
    teacher.train()
    for _ in range(10):
        teacher(torch.randn(64, *scale.input.shape))
    teacher.eval()


def speed(scale: Scale, device: torch.device, batch_size: int, until: float) -> dict[str, Any]:
    """Times of a student step at one batch size, as many turns as fit, and operations per second."""
    case = Case(
        teacher=scale.speed[0],
        student=scale.speed[1],
        shape=scale.input.shape,
        num_classes=scale.num_classes,
        batch_size=batch_size,
        generator_width=scale.speed_generator[0],
        latent_dim=scale.speed_generator[1],
        timed=scale.timed,
        device=device,
    )
    product = matrix_tflops(scale.matrix, device)
    turns: list[dict[str, float]] = []
    longest = 0.0
    while len(turns) < scale.turns and (not turns or time.monotonic() + 1.5 * longest < until):
        start = time.monotonic()
        turns.append(measure(case, 1, functools.partial(print, flush=True), graphs=True))
        longest = max(longest, time.monotonic() - start)
        release(device)
    seconds = {name: statistics.median(turn[name] for turn in turns) for name in turns[0]}
    with profiled() as profile:
        time_engine(replace(case, timed=PROFILED_ROUNDS), get_method("dfad").recipe.pool_batches)
    return {
        "pair": ":".join(scale.speed),
        "method": "dfad",
        "batch_size": batch_size,
        "generator_width": case.generator_width,
        "latent_dim": case.latent_dim,
        "turns": len(turns),
        "timed_rounds": scale.timed,
        **{name: round(value, 6) for name, value in seconds.items()},
        **_ratios(seconds),
        **_tflops(case, seconds),
        "matrix_product_tflops": round(product, 3),
        "profile": profile.table(),
    }


def _ratios(seconds: dict[str, float]) -> dict[str, float]:
    names = {
        "ratio": "engine",
        "ratio_with_pool": "engine_with_pool",
        "ratio_with_graphs": "engine_with_graphs",
    }
    return {n: round(seconds["plain_seconds"] / seconds[f"{of}_seconds"], 2) for n, of in names.items()}


def _tflops(case: Case, seconds: dict[str, float]) -> dict[str, float]:
    """10^12 operations a second of the engine, by the count of `benchmarks.engine.work`."""
    tflops = {}
    work = Work(engine_config(case, 0), *case.networks())
    for name, fresh in (("engine", STUDENT_STEPS), ("engine_with_pool", 1), ("engine_with_graphs", 1)):
        pflop = work.petaflop(1, fresh * case.batch_size)
        tflops[f"{name}_tflops"] = float(f"{1000 * pflop / (STUDENT_STEPS * seconds[f'{name}_seconds']):.4g}")
    return tflops


def matrix_tflops(side: int, device: torch.device) -> float:
    """10^12 operations a second of the product of two square bfloat16 matrices of random numbers."""
    a, b = (torch.randn(side, side, device=device).bfloat16() for _ in range(2))
    times = []
    for _ in range(13):
        start = now(device)
        torch.mm(a, b)
        times.append(now(device) - start)
    return 2 * side**3 / statistics.median(times[3:]) / 1e12


def usable(device: torch.device) -> bool:
    """Whether `device` still works in this process: a failed kernel or recording can end that."""
    try:
        release(device)
        torch.randn(8, device=device).sum().item()
    except RuntimeError as error:
        print(f"{device}: {error}", flush=True)
        return False
    return True


def release(device: torch.device) -> None:
    """Free the GPU memory of objects that are no longer used."""
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
