"""Training beside another busy program: with one thread, with all threads, and with the number left open.

    python -m benchmarks.busy_machine

Every run is a process of its own: the digits teacher, a student of 9 channels, the default method. The other
program multiplies matrices with as many threads as there are processors. `seconds` is the time of `distill`,
warm-up included and evaluation left out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.record import RESULTS, ROOT, append
from dfad_core.contract.config import BudgetConfig, DistillConfig, TrainingConfig
from dfad_core.contract.errors import Stopped
from dfad_core.contract.machine import usable_processors
from dfad_core.formats import load_teacher
from dfad_core.hooks import Hooks
from dfad_core.networks import build_classifier
from dfad_core.training.trainer import distill

TEACHER = ROOT / "examples" / "digits" / "teacher.safetensors"
BUSY = "import torch\nx = torch.randn(512, 512)\nwhile True:\n    x = torch.tanh(x @ x)\n"
"""The other program."""
SETTLING_SECONDS = 3.0
"""Until the other program has imported torch."""


class TrainingAlone(Hooks):
    """Stops the run after its last step, before anything is measured."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def should_stop(self) -> str | None:
        """See Hooks."""
        self._left -= 1
        return None if self._left else "trained"


def train(threads: int, steps: int) -> dict[str, float]:
    """One run in this process: its seconds, and the number of threads at its end."""
    teacher = load_teacher(TEACHER)
    torch.manual_seed(0)
    student = build_classifier(
        "cnn8", num_classes=teacher.num_classes, input_shape=teacher.input.shape, args={"width": 9}
    )
    config = DistillConfig(
        input=teacher.input,
        num_classes=teacher.num_classes,
        budget=BudgetConfig(steps=steps),
        training=TrainingConfig(threads=threads),
        device="cpu",
    )
    begun = time.perf_counter()
    try:
        distill(teacher.module, student, config, TrainingAlone(steps))
    except Stopped as stopped:
        seconds = time.perf_counter() - begun
        return {"seconds": round(seconds, 2), "threads": stopped.result.threads}
    raise AssertionError("the engine did not stop")


def train_apart(threads: int, steps: int) -> dict[str, float]:
    """The same in a process of its own: libraries never end threads that they have started."""
    command = [sys.executable, "-m", "benchmarks.busy_machine", "--run", str(threads), "--steps", str(steps)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def measure(steps: int) -> dict[str, dict[str, float]]:
    """Every number of threads, alone and beside the other program."""
    numbers = {"one": 1, "all": usable_processors(), "auto": 0}
    figures: dict[str, dict[str, float]] = {}
    for where in ("alone", "busy"):
        busy = subprocess.Popen([sys.executable, "-c", BUSY]) if where == "busy" else None
        try:
            if busy is not None:
                time.sleep(SETTLING_SECONDS)
            for name, threads in numbers.items():
                figures[f"{where}_{name}"] = train_apart(threads, steps)
                print(f"{where}, {name}: {figures[f'{where}_{name}']}", flush=True)
        finally:
            if busy is not None:
                busy.kill()
                busy.wait()
    return figures


def main(arguments: list[str] | None = None, results: Path = RESULTS) -> int:
    """Measure, append a result line, print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.busy_machine", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--run", type=int, metavar="THREADS", help="one run in this process, and no more")
    options = parser.parse_args(arguments)
    if options.run is not None:
        print(json.dumps(train(options.run, options.steps)))
        return 0
    figures = measure(options.steps)
    ratios = {
        f"{where}_{name}_ratio": round(
            figures[f"{where}_{name}"]["seconds"] / figures[f"{where}_one"]["seconds"], 2
        )
        for where in ("alone", "busy")
        for name in ("all", "auto")
    }
    line = {"benchmark": "busy_machine", "steps": options.steps, "runs": figures, **ratios}
    append(results / "busy_machine.jsonl", line, torch.device("cpu"))
    print("BUSY_MACHINE " + " ".join(f"{name}={ratio}" for name, ratio in ratios.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
