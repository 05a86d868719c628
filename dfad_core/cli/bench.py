"""`bench`: rounds a second of the engine on this machine, for networks with random weights."""

from __future__ import annotations

import argparse
import os
import platform
import re
import time
from typing import Any

import torch

import dfad_core
from dfad_core.cli.lines import UNLIMITED_STEPS, Interrupt, Lines
from dfad_core.contract.architectures import LIBRARY_NAME, get_architecture
from dfad_core.contract.config import BudgetConfig, DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.contract.errors import ConfigError, Stopped
from dfad_core.contract.machine import processor_name
from dfad_core.contract.methods import get_method
from dfad_core.hooks import Hooks
from dfad_core.networks import build_classifier
from dfad_core.networks.cost import cost
from dfad_core.training.runtime import resolve
from dfad_core.training.trainer import distill

WARM_UP_ROUNDS = 2
"""Not counted: they allocate memory and choose kernels."""
CLASSES = 10
STOP_REASON = "measured"


class Clock(Hooks):
    """Hooks that count the rounds after the warm-up and stop when the time is over."""

    def __init__(self, lines: Lines, interrupt: Interrupt, seconds: float) -> None:
        self._lines, self._interrupt, self._limit = lines, interrupt, seconds
        self._all_rounds = 0
        self._started = self._reported = time.perf_counter()
        self.rounds, self.seconds = 0, 0.0

    def should_stop(self) -> str | None:
        """See Hooks; called after every round."""
        self._interrupt.check()
        now = time.perf_counter()
        self._all_rounds += 1
        if self._all_rounds <= WARM_UP_ROUNDS:
            self._started = now
            return None
        self.rounds, self.seconds = self._all_rounds - WARM_UP_ROUNDS, now - self._started
        if now - self._reported >= 0.5:
            self._reported = now
            percent = min(100.0, 100 * self.seconds / self._limit)
            self._lines.write("progress", {"step": self.rounds, "percent": round(percent, 2)})
        return STOP_REASON if self.seconds >= self._limit else None


def run(arguments: argparse.Namespace, lines: Lines, interrupt: Interrupt) -> int:
    """Measure and write one `result` line.

    Raises ConfigError for unknown names, and ShapeError where the student does not fit the teacher's input.
    """
    names = re.fullmatch(f"({LIBRARY_NAME}|[^:]*):({LIBRARY_NAME}|[^:]*)", arguments.pair)
    if names is None:
        raise ConfigError("name a teacher and a student as TEACHER:STUDENT", param="pair")
    entries = [get_architecture(name) for name in names.group(1, 4)]
    get_method(arguments.method)
    if not 0 < arguments.seconds <= 3600:
        raise ConfigError("measure for up to 3600 seconds", param="seconds")
    if arguments.device not in ("auto", "cpu", "cuda"):
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
        method=MethodConfig(name=arguments.method),
        budget=BudgetConfig(steps=UNLIMITED_STEPS),
        training=TrainingConfig(batch_size=arguments.batch_size),
        device=arguments.device,
        progress_seconds=3600,
        checkpoint_seconds=86_400,
    )
    clock = Clock(lines, interrupt, arguments.seconds)
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
    data = {
        "teacher": teacher,
        "student": student,
        "method": arguments.method,
        "batch_size": arguments.batch_size,
        "rounds": clock.rounds,
        "seconds": round(clock.seconds, 3),
        "rounds_per_second": round(clock.rounds / clock.seconds, 3),
        "machine": _machine(runtime.device, threads, runtime.precision),
    }
    lines.write("result", data)
    return 0


def _machine(device: torch.device, threads: int, precision: str) -> dict[str, Any]:
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return {
        "device": str(device),
        "gpu": gpu,
        "processor": processor_name() or platform.processor() or platform.machine(),
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
