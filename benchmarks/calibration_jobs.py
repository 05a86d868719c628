"""Jobs of known accuracy, from which the judge learns to tell a student's accuracy without data.

    python -m benchmarks.calibration_jobs
    python -m benchmarks.calibration_jobs --only mnist --jobs 4 --no-record

Every teacher gets `--jobs` runs, drawn by its name and their number: methods, students, numbers of updates
and seeds of all kinds. A run is stopped at some `STOPS` of its rounds, as by a user, and then resumed: each
stop leaves the student of a stopped job, the end that of a complete one. A line is one student with its
accuracy; the student lies in `--folder`, so that `benchmarks.fidelity_calibration` can measure it anew. Runs
whose last line and student are there are not repeated. All are scored on training images, which no report
uses; the digits and MNIST teachers that are missing in `--folder` are trained first.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import colour_teachers, mnist, public_teachers
from benchmarks.engine.data import DataMissing, data_dir, data_file, load_images, normalise
from benchmarks.engine.work import updates_a_round
from benchmarks.machine_load import MachineLoad
from benchmarks.record import RESULTS, ROOT, append, read, surroundings
from dfad_core.contract.config import BudgetConfig, DistillConfig, InputConfig, MethodConfig, TrainingConfig
from dfad_core.contract.errors import DivergedError, Stopped
from dfad_core.formats import load_teacher
from dfad_core.hooks import DistillResult, Hooks, Progress
from dfad_core.networks import build_classifier
from dfad_core.training.trainer import distill
from examples.digits import data as digits_data

FILE = RESULTS / "calibration_jobs.jsonl"
FOLDER = ROOT / "calibration"
"""Teachers and students; git ignores it."""
JOBS = 9
"""Runs of each teacher."""
SHORT_JOBS, LONGER = 7, 5
"""From this number on, runs are so many times as long and by default methods: jobs of users end well."""
LONG_METHODS = {"best": 1, "collages": 1}
STOPS = (0.12, 0.35, 1.0)
"""Shares of a run's rounds after which there is a student."""
NUM_CLASSES = 10
MNIST_ROWS, COLOUR_ROWS = 3_000, 3_000
"""Scored images."""
BATCH = 64
"""Images in a batch of a job."""
MNIST_BATCH, MNIST_STEPS, MNIST_RATE, DIGITS_EPOCHS = 128, 300, 3e-3, 80
DIGITS_16 = InputConfig(
    public_teachers.SHAPE,
    (digits_data.MEAN / public_teachers.SCALE,),
    (digits_data.STD / public_teachers.SCALE,),
)
MNIST_RESNET = ("resnet8", {"width": 16})
PRINTED = (
    "teacher",
    "number",
    "share",
    "student",
    "method",
    "updates",
    "learning_rate",
    "seconds",
    "accuracy",
    "teacher_accuracy",
)


@dataclass(frozen=True)
class Kind:
    """What the jobs of a teacher are drawn from: methods with weights, `updates` from and to."""

    students: tuple[tuple[str, Mapping[str, Any]], ...]
    methods: Mapping[str, float]
    updates: tuple[float, float]


KINDS = {
    "digits8": Kind(
        (("cnn8", {"width": 9}), ("cnn8", {"width": 4}), ("resnet8", {"width": 4}), ("mlp8", {"width": 48})),
        {"best": 4, "collages": 2, "level_sets": 1, "dfad": 1, "dafl": 1, "noise": 1},
        (60, 2000),
    ),
    "digits16": Kind(
        (("resnet8", {"width": 8}), ("resnet8", {"width": 4}), ("cnn8", {"width": 12})),
        {"best": 4, "collages": 3, "level_sets": 2, "dfad": 1, "dafl": 1, "noise": 1},
        (60, 2000),
    ),
    "mnist": Kind(
        (("lenet5_half", {}), ("resnet8", {"width": 4})),
        {"best": 4, "collages": 2, "level_sets": 3, "dfad": 1, "dafl": 1, "noise": 1},
        (60, 1500),
    ),
    "cifar10": Kind(
        (("resnet20", {}), ("resnet20", {}), ("resnet8", {}), ("wrn_16_1", {})),
        {"best": 6, "collages": 3, "level_sets": 1, "dfq": 1},
        (30, 400),
    ),
}


@dataclass(frozen=True)
class Teacher:
    """A teacher, in eval mode, and labelled images to score its students by."""

    name: str
    module: nn.Module
    input: InputConfig
    images: Callable[[], tuple[Tensor, Tensor]] = field(repr=False)
    """Normalised images (N, C, H, W) and labels (N,)."""


@dataclass(frozen=True)
class Job:
    """One run, as its lines are known by."""

    teacher: str
    number: int
    student: str
    args: Mapping[str, Any]
    method: str
    updates: int
    learning_rate: float | None
    seed: int

    def student_file(self, folder: Path, share: float) -> Path:
        """Path of the student after `share` of the rounds."""
        return folder / "students" / f"{self.teacher}-{self.number:02d}-{share:.2f}.pt"


def teacher_names() -> list[str]:
    """All teachers that can be had: those of CIFAR-10 without batch norm only where they are trained."""
    colour = [
        name
        for name in colour_teachers.TEACHERS
        if name not in colour_teachers.PLANS or (colour_teachers.FOLDER / f"{name}.safetensors").is_file()
    ]
    digits = [f"digits16-{kind}" for kind in public_teachers.TEACHERS]
    return ["digits8-cnn", *digits, "mnist-lenet5", "mnist-resnet8", *colour]


def jobs_of(teacher: str, count: int) -> list[Job]:
    """The first `count` jobs of a teacher; the same at every call."""
    kind = KINDS[teacher.partition("-")[0]]
    jobs = []
    for number in range(count):
        rng = random.Random(f"{teacher}-{number}")
        student, args = kind.students[rng.randrange(len(kind.students))]
        methods = kind.methods if number < SHORT_JOBS else LONG_METHODS
        (method,) = rng.choices(list(methods), list(methods.values()))
        low, high = (math.log(updates) for updates in kind.updates)
        updates = round(math.exp(low + (high - low) * rng.random() ** 0.6))  # rather many than few
        updates *= 1 if number < SHORT_JOBS else LONGER
        rate = rng.choice([None, None, None, None, 0.003])
        jobs.append(Job(teacher, number, student, args, method, updates, rate, seed=number))
    return jobs


def load(name: str, folder: Path, data_option: str | None = None) -> Teacher:
    """The teacher `name`, trained first where it is one of ours and missing. DataMissing without its data.

    `data_option` is that of the command line; teachers for digits need no data folder.
    """
    if name == "digits8-cnn":
        path = ROOT / "examples" / "digits" / "teacher.safetensors"
        return Teacher(name, load_teacher(path).module, load_teacher(path).input, digits_images)
    if name.startswith("digits16-"):
        module = kept(folder / "teachers" / f"{name}.pt", partial(digits_teacher, name.split("-")[1]))
        return Teacher(name, module, DIGITS_16, doubled_images)
    data = data_dir(data_option)
    if name.startswith("mnist-"):
        images = partial(mnist_images, data)
        if name == "mnist-lenet5":
            path = data_file(data, "teachers/mnist-lenet5.pt")
            loaded = load_teacher(path, architecture="lenet5", num_classes=NUM_CLASSES, input=mnist.INPUT)
            return Teacher(name, loaded.module, mnist.INPUT, images)
        module = kept(folder / "teachers" / f"{name}.pt", partial(mnist_teacher, data))
        return Teacher(name, module, mnist.INPUT, images)
    loaded = colour_teachers.colour_teacher(name, data)
    return Teacher(name, loaded.module, loaded.input, partial(colour_images, data, loaded.input))


def kept(path: Path, train: Callable[[bool], nn.Module]) -> nn.Module:
    """The network in `path`, trained and written there if there is none; `train(False)` only builds it."""
    if path.is_file():
        module = train(False)
        module.load_state_dict(torch.load(path, weights_only=True))
        return module.eval()
    module = train(True)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(module.state_dict(), path)
    return module.eval()


def digits_teacher(kind: str, full: bool) -> nn.Module:
    """A network of transformers for 16x16 digits, as `benchmarks.public_teachers` trains it."""
    config = public_teachers.TEACHERS[kind][1]
    if not full:
        return public_teachers.untrained(kind, config)
    return public_teachers.trained(kind, config, DIGITS_EPOCHS, *doubled_images())


def mnist_teacher(data: Path, full: bool) -> nn.Module:
    """A ResNet-8 with batch norm, trained on the MNIST images that no student is scored on."""
    torch.manual_seed(0)
    name, args = MNIST_RESNET
    module = build_classifier(name, num_classes=NUM_CLASSES, input_shape=mnist.INPUT.shape, args=args)
    if not full:
        return module
    images, y = load_images(data_file(data, "mnist-train.parquet"), first=MNIST_ROWS)
    optimizer = torch.optim.AdamW(module.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, MNIST_RATE, total_steps=MNIST_STEPS)
    for _ in range(MNIST_STEPS):
        rows = torch.randint(len(y), (MNIST_BATCH,))
        loss = F.cross_entropy(module(mnist_pixels(images[rows])), y[rows], label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return module


def mnist_pixels(images_BCHW: Tensor) -> Tensor:
    """Images of 28x28 bytes, as the teachers take them."""
    assert mnist.INPUT.mean is not None
    assert mnist.INPUT.std is not None
    return normalise(images_BCHW, mnist.INPUT.mean, mnist.INPUT.std, side=mnist.INPUT.shape[1])


def digits_images() -> tuple[Tensor, Tensor]:
    """The training part."""
    return digits_data.digits()[0]


def doubled_images() -> tuple[Tensor, Tensor]:
    """The training part, at 16x16."""
    x, y = digits_images()
    return public_teachers.doubled(x), y


def mnist_images(data: Path) -> tuple[Tensor, Tensor]:
    """The first training images."""
    images, y = load_images(data_file(data, "mnist-train.parquet"), count=MNIST_ROWS)
    return mnist_pixels(images), y


def colour_images(data: Path, input: InputConfig) -> tuple[Tensor, Tensor]:
    """The first of the held-out training images."""
    assert input.mean is not None
    assert input.std is not None
    held_out = colour_teachers.held_out_images(data)
    x = normalise(held_out.images_BCHW[:COLOUR_ROWS], input.mean, input.std)
    return x, held_out.labels_B[:COLOUR_ROWS]


@torch.no_grad()
def classes(module: nn.Module, x_BCHW: Tensor) -> Tensor:
    """Class of each image (B,)."""
    return torch.cat([module.eval()(part).argmax(1) for part in torch.split(x_BCHW, 250)])


class _Stops(Hooks):
    """Stops a run after `rounds`, or after training, before the evaluation; keeps student and checkpoint."""

    def __init__(self, rounds: int) -> None:
        self._rounds, self._step = rounds, 0
        self.result: DistillResult | None = None
        self.state: bytes | None = None

    def progress(self, progress: Progress) -> None:
        self._step = progress.step

    def checkpoint(self, step: int, data: bytes) -> None:
        self.state = data

    def student_ready(self, result: DistillResult, *, complete: bool) -> None:
        self.result = result

    def should_stop(self) -> str | None:
        return "enough" if self.result is not None or self._step >= self._rounds else None


def config_of(job: Job, teacher: Teacher) -> DistillConfig:
    """The engine's config of a run."""
    config = DistillConfig(
        input=teacher.input,
        num_classes=NUM_CLASSES,
        method=MethodConfig(job.method),
        training=TrainingConfig(
            batch_size=BATCH, generator_width=16, student_learning_rate=job.learning_rate, threads=1
        ),
        device="cpu",
        seed=job.seed,
        progress_seconds=0,
        checkpoint_seconds=86_400,
    )
    rounds = max(len(STOPS), round(job.updates / updates_a_round(config, teacher.module)))
    return dataclasses.replace(config, budget=BudgetConfig(steps=rounds))


def trained_students(job: Job, teacher: Teacher) -> Iterator[tuple[float, DistillResult]]:
    """Share of the rounds and student of every stop. DivergedError where a loss is not finite."""
    config, state = config_of(job, teacher), None
    for share in STOPS:
        hooks = _Stops(max(1, round(share * config.budget.steps)))
        torch.manual_seed(job.seed)
        try:
            distill(teacher.module, build(job, teacher.input), config, hooks, resume=state)
        except Stopped:
            if hooks.result is None:
                raise
        assert hooks.result is not None
        state = hooks.state
        yield share, hooks.result


def build(job: Job, input: InputConfig) -> nn.Module:
    """The student's network with its first weights."""
    return build_classifier(
        job.student, num_classes=NUM_CLASSES, input_shape=input.shape, args=dict(job.args)
    )


def run_job(job: Job, teacher: Teacher, folder: Path) -> Iterator[dict[str, Any]]:
    """Train, store and score the students of one run; the figures of their lines."""
    machine, start = MachineLoad(), time.monotonic()
    for share, result in trained_students(job, teacher):
        seconds = time.monotonic() - start
        path = job.student_file(folder, share)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(result.student.state_dict(), path)
        metrics = {k: v for k, v in result.metrics.items() if k not in ("threads", "step_seconds")}
        yield {
            "benchmark": "calibration_jobs",
            **dataclasses.asdict(job),
            "share": share,
            "steps": result.steps,
            "seconds": round(seconds, 1),
            **scores(teacher, result.student),
            "metrics": {name: round(value, 5) for name, value in metrics.items()},
            **machine.figures(),
        }


def scores(teacher: Teacher, student: nn.Module) -> dict[str, float]:
    """Accuracy of both, and the share of images to which both give the same class."""
    x, y = teacher.images()
    of_teacher, of_student = classes(teacher.module, x), classes(student, x)
    shares = {
        "accuracy": of_student == y,
        "teacher_accuracy": of_teacher == y,
        "agreement": of_student == of_teacher,
    }
    return {name: round(float(right.double().mean()), 4) for name, right in shares.items()}


def missing(names: Sequence[str], count: int, folder: Path) -> Iterator[Job]:
    """Runs without their last line or student: the first of every teacher, then the second ones, ..."""
    there = {(line["teacher"], line["number"]) for line in read(FILE) if line["share"] == STOPS[-1]}
    for number in range(count):
        for name in names:
            job = jobs_of(name, number + 1)[-1]
            if (name, number) not in there or not job.student_file(folder, STOPS[-1]).is_file():
                yield job


def main(arguments: list[str] | None = None) -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration_jobs", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--only", nargs="+", default=[""], help="teachers whose names begin so")
    parser.add_argument("--jobs", type=int, default=JOBS, help="of each teacher")
    parser.add_argument("--data", help="data folder; else DFAD_DATA_DIR, else ../shared/data")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where teachers and students lie")
    parser.add_argument("--no-record", action="store_true", help="print without result lines")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    device, teachers = torch.device("cpu"), dict[str, Teacher]()
    about = surroundings(device)  # of the code that runs, whatever changes meanwhile
    try:
        names = [name for name in teacher_names() if name.startswith(tuple(options.only))]
        for job in missing(names, options.jobs, options.folder):
            if job.teacher not in teachers:
                teachers[job.teacher] = load(job.teacher, options.folder, options.data)
            try:
                for figures in run_job(job, teachers[job.teacher], options.folder):
                    if not options.no_record:
                        append(FILE, figures, device, about=about)
                    print("STUDENT", *(f"{name}={figures[name]}" for name in PRINTED), flush=True)
            except DivergedError as error:
                print(f"STUDENT {job} diverged: {error}", flush=True)
    except DataMissing as error:
        sys.exit(f"benchmarks.calibration_jobs: {error}")


if __name__ == "__main__":
    main()
