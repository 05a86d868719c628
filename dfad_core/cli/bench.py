"""`bench`: rounds a second of the engine on this machine, for networks with random weights."""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path
from typing import Any

import torch

import dfad_core
from dfad_core.cli.lines import MOST_STEPS, Interrupt, Lines
from dfad_core.contract.architectures import get_architecture
from dfad_core.contract.catalog import get_method
from dfad_core.contract.config import BudgetConfig, DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.errors import ConfigError, Stopped
from dfad_core.hooks import Hooks
from dfad_core.networks import build_classifier
from dfad_core.networks.cost import cost
from dfad_core.training.runtime import resolve
from dfad_core.training.trainer import distill

WARM_ROUNDS = 2
"""Not counted: memory is taken and kernels are chosen in them."""
CLASSES = 10
ENOUGH = "measured"


class Clock(Hooks):
    """Counts rounds after the first ones, and stops when the time is over."""

    def __init__(self, lines: Lines, interrupt: Interrupt, seconds: float) -> None:
        self._lines, self._interrupt, self._patience = lines, interrupt, seconds
        self._seen = 0
        self._begun = self._told = time.perf_counter()
        self.rounds, self.seconds = 0, 0.0

    def should_stop(self) -> str | None:
        """See Hooks; asked after every round."""
        self._interrupt.check()
        now = time.perf_counter()
        self._seen += 1
        if self._seen <= WARM_ROUNDS:
            self._begun = now
            return None
        self.rounds, self.seconds = self._seen - WARM_ROUNDS, now - self._begun
        if now - self._told >= 0.5:
            self._told = now
            percent = min(100.0, 100 * self.seconds / self._patience)
            self._lines.tell("progress", {"step": self.rounds, "percent": round(percent, 2)})
        return ENOUGH if self.seconds >= self._patience else None


def run(given: argparse.Namespace, lines: Lines, interrupt: Interrupt) -> int:
    """Raises ConfigError for names that are not known, and ShapeError where the two do not fit."""
    names = given.pair.split(":")
    if len(names) != 2:
        raise ConfigError("name a teacher and a student as TEACHER:STUDENT", param="pair")
    entries = [get_architecture(name) for name in names]
    get_method(given.method)
    if not 0 < given.seconds <= 3600:
        raise ConfigError("measure for up to 3600 seconds", param="seconds")
    if given.device not in ("auto", "cpu", "cuda"):
        raise ConfigError("device is auto, cpu or cuda", param="device")
    source = InputConfig(entries[0].input_shape)
    networks = []
    for number, entry in enumerate(entries):
        torch.manual_seed(number)
        width = {"width": entry.usual_width or 16} if "width" in entry.args else {}
        networks.append(
            build_classifier(entry.name, num_classes=CLASSES, input_shape=source.shape, args=width)
        )
    config = DistillConfig(
        input=source,
        num_classes=CLASSES,
        method=MethodConfig(name=given.method),
        budget=BudgetConfig(steps=MOST_STEPS),
        training=TrainingConfig(batch_size=given.batch_size),
        device=given.device,
        progress_seconds=3600,
        checkpoint_seconds=86_400,
    )
    clock = Clock(lines, interrupt, given.seconds)
    teacher, student = (
        {"architecture": entry.name, "parameters": cost(network, source.shape).parameters}
        for entry, network in zip(entries, networks, strict=True)
    )
    runtime = resolve(config)
    threads = runtime.threads
    try:
        distill(networks[0].eval(), networks[1], config, clock)
    except Stopped as stopped:
        threads = stopped.result.threads
    about = {
        "teacher": teacher,
        "student": student,
        "method": given.method,
        "batch_size": given.batch_size,
        "rounds": clock.rounds,
        "seconds": round(clock.seconds, 3),
        "rounds_per_second": round(clock.rounds / clock.seconds, 3),
        "machine": _machine(runtime.device, threads, runtime.precision),
    }
    lines.tell("result", about)
    return 0


def _machine(device: torch.device, threads: int, precision: str) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": str(device),
        "gpu": gpu,
        "processor": _processor(),
        "processors": os.cpu_count(),
        "threads": threads,
        "precision": precision,
        "system": f"{platform.system()} {platform.release()}",
        "versions": {
            "dfad": dfad_core.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }


def _processor() -> str:
    """Its name, as Linux tells it; elsewhere what Python knows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
