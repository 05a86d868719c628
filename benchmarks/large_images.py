"""Jobs on images of 8 to 224 pixels: seconds a step and peak memory, measured and as estimated beforehand.

    python -m benchmarks.large_images
    python -m benchmarks.large_images --case 64 --steps 2
    python -m benchmarks.large_images --batch-size 64 --memory-mib 3000 --steps 1

The default case is a ResNet-50 teacher of 1,000 classes at 224 pixels and a ResNet-18, for 20 steps. Teachers
have random weights, with which neither time nor memory changes, and BN statistics of drawings. Each run is a
process of its own with one thread, from the teacher's file to the student's file and the report
(`dfad_core.job.run_job`). `peak_bytes` is what the process holds at most, `job_bytes` the same less what it
held before the job; `estimated_bytes` and `estimated_step_seconds` are what the engine expects beforehand.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.machine_load import MachineLoad, warning
from benchmarks.record import RESULTS, ROOT, append
from dfad_core.contract.config import BudgetConfig, DistillConfig, InputConfig, TrainingConfig
from dfad_core.contract.job_spec import JobSpec, StudentSpec
from dfad_core.contract.limits import Limits
from dfad_core.formats import load_teacher
from dfad_core.formats.safetensors import load_student, save_student
from dfad_core.hooks import JobHooks, Progress
from dfad_core.job import JobInputs, JobOptions, run_job
from dfad_core.networks import build_classifier
from dfad_core.networks.batch_norm import recalibrate
from dfad_core.networks.drawings import Collages
from dfad_core.training import runtime
from dfad_core.training.run_state import RunState

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STATISTICS_IMAGES = 16


@dataclass(frozen=True)
class Case:
    """Two networks and a batch."""

    teacher: tuple[str, dict[str, Any]]
    """Architecture and arguments."""
    student: tuple[str, dict[str, Any]]
    shape: tuple[int, int, int]
    num_classes: int
    batch_size: int

    @property
    def input(self) -> InputConfig:
        """The shape, with the usual mean and deviation of colour images."""
        grey = self.shape[0] == 1
        return InputConfig(self.shape, (0.5,) if grey else MEAN, (0.25,) if grey else STD)


def _resnet(depths: list[int], kind: str, sizes: list[int]) -> tuple[str, dict[str, Any]]:
    config = {"model_type": "resnet", "depths": depths, "layer_type": kind, "hidden_sizes": sizes}
    return "transformers", {"config": config}


CASES = {
    "8": Case(("cnn8", {}), ("cnn8", {"width": 9}), (1, 8, 8), 10, 128),
    "32": Case(("resnet34", {}), ("resnet18", {}), (3, 32, 32), 100, 32),
    "64": Case(("resnet34", {"width": 32}), ("mobilenet_v2", {"width": 16}), (3, 64, 64), 200, 16),
    "224": Case(
        _resnet([3, 4, 6, 3], "bottleneck", [256, 512, 1024, 2048]),
        _resnet([2, 2, 2, 2], "basic", [64, 128, 256, 512]),
        (3, 224, 224),
        1000,
        16,
    ),
}


class Steps(JobHooks):
    """Time of the clock and of the processor after each step; the student's file."""

    def __init__(self, student: Path) -> None:
        self._student = student
        self.marks: list[tuple[float, float]] = []
        self.events: list[str] = []

    def progress(self, progress: Progress) -> None:
        """See Hooks; called after every step."""
        self.marks.append((time.perf_counter(), time.process_time()))
        print(f"step {progress.step}: {progress.seconds:.1f} s", file=sys.stderr, flush=True)

    def note(self, code: str, data: Any) -> None:
        """See Hooks."""
        self.events.append(code)

    warn = note

    def keep_student(self, file: Any, step: int, result: Any, *, complete: bool) -> None:
        """See JobHooks."""
        self._student.write_bytes(file.content)


def make_teacher(case: Case, path: Path) -> None:
    """Write a teacher with random weights, and the BN statistics of drawings."""
    torch.manual_seed(0)
    name, args = case.teacher
    teacher = build_classifier(name, num_classes=case.num_classes, input_shape=case.shape, args=args)
    images_BCHW = Collages(case.shape)(torch.randn(STATISTICS_IMAGES, 1))
    recalibrate(teacher, [images_BCHW])
    save_student(path, teacher, architecture=name, args=args, num_classes=case.num_classes, input=case.input)


def run(case: Case, teacher: Path, steps: int, memory_bytes: int | None = None) -> dict[str, Any]:
    """One job in this process, and what the engine expects of it."""
    torch.set_num_threads(1)
    name, args = case.student
    student = StudentSpec(transformers=args["config"]) if name == "transformers" else StudentSpec(name, args)
    training = TrainingConfig(batch_size=case.batch_size, threads=1)
    spec = JobSpec(student, budget=BudgetConfig(steps=steps), training=training, device="cpu")
    limits = Limits(memory_bytes=memory_bytes)
    before = resident("VmRSS")
    file = teacher.with_name("student.safetensors")
    hooks, start = Steps(file), (time.perf_counter(), time.process_time())
    options = JobOptions(progress_seconds=0, checkpoint_seconds=86_400, limits=limits)
    outcome = run_job(JobInputs(teacher), spec, hooks, options=options)
    seconds, peak = time.perf_counter() - start[0], resident("VmHWM")
    first, last = hooks.marks[0], hooks.marks[-1]
    later = max(1, len(hooks.marks) - 1)
    assert outcome.complete
    return {
        "seconds": round(seconds, 1),
        "first_step_seconds": round(first[0] - start[0], 1),
        "step_seconds": round((last[0] - first[0]) / later, 2),
        "step_processor_seconds": round((last[1] - first[1]) / later, 2),
        "peak_bytes": peak,
        "job_bytes": peak - before,
        "student_parameters": sum(p.numel() for p in load_student(file).parameters()),
        "events": hooks.events,
        **expected(case, teacher, training, steps, memory_bytes),
    }


def expected(
    case: Case, teacher: Path, training: TrainingConfig, steps: int, memory_bytes: int | None
) -> dict[str, Any]:
    """The engine's estimates for such a job."""
    loaded = load_teacher(teacher)
    name, args = case.student
    student = build_classifier(name, num_classes=case.num_classes, input_shape=case.shape, args=args)
    config = DistillConfig(
        loaded.input, case.num_classes, budget=BudgetConfig(steps), training=training, device="cpu"
    )
    run_state = RunState(
        loaded.module, student, None, config, runtime.resolve(config), memory_limit=memory_bytes
    )
    run_state.close()
    return {
        "precision": run_state.runtime.precision,
        "slices": run_state.slices,
        "estimated_bytes": run_state.sizing.memory.peak_bytes(run_state.slices),
        "estimated_step_seconds": round(run_state.round_seconds().alone, 2),
    }


def resident(entry: str) -> int:
    """Memory that this process holds, now (`VmRSS`) or at most until now (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{entry}:"))


def run_apart(name: str, case: Case, steps: int, memory_bytes: int | None, folder: Path) -> dict[str, Any]:
    """Teacher and job, each in a process of its own: the peak is that of the job alone."""
    command = [sys.executable, "-m", "benchmarks.large_images", "--case", name, "--steps", str(steps)]
    command += ["--batch-size", str(case.batch_size), "--folder", str(folder)]
    if memory_bytes is not None:
        command += ["--memory-mib", str(memory_bytes // 2**20)]
    subprocess.run([*command, "--make"], cwd=ROOT, check=True)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def main(arguments: list[str] | None = None, results: Path = RESULTS) -> int:
    """Measure, append a result line, print its figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large_images", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--case", choices=CASES, default="224")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, help="in place of the case's own")
    parser.add_argument("--memory-mib", type=int, help="memory that the process may hold")
    parser.add_argument(
        "--folder", type=Path, help="one part in this process: the job, or --make its teacher"
    )
    parser.add_argument("--make", action="store_true")
    options = parser.parse_args(arguments)
    case = CASES[options.case]
    if options.batch_size is not None:
        case = dataclasses.replace(case, batch_size=options.batch_size)
    memory_bytes = None if options.memory_mib is None else options.memory_mib * 2**20
    if options.make:
        make_teacher(case, options.folder / "teacher.safetensors")
        return 0
    if options.folder is not None:
        print(json.dumps(run(case, options.folder / "teacher.safetensors", options.steps, memory_bytes)))
        return 0
    load = MachineLoad(children=True)
    with tempfile.TemporaryDirectory() as folder:
        figures = run_apart(options.case, case, options.steps, memory_bytes, Path(folder))
    line = {
        "benchmark": "large_images", "case": options.case, "steps": options.steps,
        "batch_size": case.batch_size, "num_classes": case.num_classes, "memory_limit": memory_bytes,
        "shape": case.shape, "teacher": case.teacher, "student": case.student, **figures, **load.figures(),
    }  # fmt: skip
    torch.set_num_threads(1)
    append(results / "large_images.jsonl", line, torch.device("cpu"))
    if text := warning(line):
        print(text, file=sys.stderr)
    shown = ("step_seconds", "peak_bytes", "job_bytes", "estimated_bytes", "estimated_step_seconds", "slices")
    print("LARGE_IMAGES " + " ".join(f"{name}={figures[name]}" for name in shown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
