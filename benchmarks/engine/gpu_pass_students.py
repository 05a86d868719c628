"""Parts of the GPU pass: teachers from labelled images, students from teachers alone."""

from __future__ import annotations

import copy
import functools
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.engine import teacher_shards, teacher_training
from benchmarks.engine.data import data_dir, data_file, load_images, normalise
from benchmarks.engine.gpu_pass_parts import Scale, release
from benchmarks.engine.recipe_facts import recipe_facts
from benchmarks.engine.snapshots import Snapshot, Snapshots, same_network
from benchmarks.engine.work import Work, updates_a_round
from benchmarks.machine_load import MachineLoad
from benchmarks.paper_table import Split
from benchmarks.step_time import now
from dfad_core.contract.config import BudgetConfig, DistillConfig, MethodConfig, TrainingConfig
from dfad_core.contract.errors import DfadError
from dfad_core.evaluation.accuracy import accuracy
from dfad_core.hooks import DistillResult
from dfad_core.networks import build_classifier
from dfad_core.networks.batch_norm import bn_layers
from dfad_core.training.trainer import distill

SEED = 0
SCORING_SECONDS = 4.0
"""Part of a teacher's time for scoring and writing after its training."""
CLOSING_SECONDS = 5.0
"""Part of a student's time besides its training, until a run has measured it."""
WHOLE_TEST_SET = 10_000

Report = Callable[[dict[str, Any]], None]


class Images:
    """The data set's two splits, read at first use; the test images stay on the device."""

    def __init__(self, scale: Scale, device: torch.device, data: str | None) -> None:
        self._scale, self._device, self._data = scale, device, data

    @functools.cached_property
    def train(self) -> Split:
        """On the CPU. DataMissing where there is none."""
        return self._split("train")

    @functools.cached_property
    def test(self) -> Split:
        """On the device; as many as the file holds. DataMissing where there is none."""
        split = self._split("test")
        return Split(split.images_BCHW.to(self._device), split.labels_B.to(self._device))

    @property
    def name(self) -> str:
        """Name of the scored data set."""
        kind = "synthetic-test" if self._scale.name == "tiny" else "cifar10-test"
        count = len(self.test.labels_B)
        return kind if count == WHOLE_TEST_SET else f"{kind}-{count}"

    def _split(self, name: str) -> Split:
        if self._scale.name == "tiny":
            images_BCHW, labels_B = _synthetic(self._scale, {"train": 1, "test": 2}[name])
        else:
            path = data_file(data_dir(self._data), f"cifar10-{name}.parquet")
            images_BCHW, labels_B = load_images(path)
        input_config = self._scale.input
        assert input_config.mean is not None
        assert input_config.std is not None
        return Split(normalise(images_BCHW, input_config.mean, input_config.std), labels_B)


def _synthetic(scale: Scale, seed: int) -> tuple[Tensor, Tensor]:
    """96 noisy images whose brightness is their class, as bytes, and the classes."""
    stream = torch.Generator().manual_seed(seed)
    labels_B = torch.arange(96) % scale.num_classes
    noise = torch.randint(0, 40, (96, *scale.input.shape), generator=stream)
    images_BCHW = labels_B[:, None, None, None] * (200 // scale.num_classes) + noise
    return images_BCHW.to(torch.uint8), labels_B


@dataclass
class Pass:
    """State that the parts of these stages share."""

    scale: Scale
    device: torch.device
    folder: Path
    images: Images
    closing_seconds: float = CLOSING_SECONDS
    """A student's time besides its training: the constant, or the largest measured so far."""
    student_seconds: float = math.inf
    """Of a student's training: the smallest of a run so far, which keeps methods comparable."""

    def training_seconds(self, until: float) -> float:
        """Training time of a student that is to be trained and scored by then."""
        left = until - time.monotonic()
        seconds = min(
            max(left - self.closing_seconds, left / 2), self.scale.most_seconds, self.student_seconds
        )
        return float(math.floor(seconds)) if seconds > 10 else seconds

    def network(self, name: str) -> nn.Module:
        """A new network with weights from the pass's seed."""
        torch.manual_seed(SEED)
        return build_classifier(name, num_classes=self.scale.num_classes, input_shape=self.scale.input.shape)

    def score(self, module: nn.Module) -> float:
        """Accuracy on the test images, on the device."""
        test = self.images.test
        return round(accuracy(module.to(self.device), test.images_BCHW, test.labels_B), 4)


def teacher(run: Pass, name: str, until: float) -> dict[str, Any]:
    """Train a teacher within the time and store it in float16; one whose files exist is only scored."""
    images = len(run.images.test.labels_B)
    module = run.network(name)
    stored = teacher_shards.read(run.folder, name)
    if stored is None:
        train = run.images.train
        epochs = epochs_for(run, module, until - time.monotonic() - SCORING_SECONDS)
        print(f"{name}: {epochs} epochs", flush=True)
        start = now(run.device)
        recipe = teacher_training.Recipe(epochs=epochs, seed=SEED)
        teacher_training.train(module, train.images_BCHW, train.labels_B, recipe, run.device)
        facts = {"epochs": str(epochs), "training_seconds": f"{now(run.device) - start:.2f}"}
        facts["accuracy"] = str(run.score(module))
        teacher_shards.write(run.folder, name, module.state_dict(), facts)
        stored = teacher_shards.read(run.folder, name)
        assert stored is not None
    weights, facts = stored
    module.load_state_dict(weights)
    return {
        "teacher": name,
        "dataset": run.images.name,
        "images": images,
        "accuracy": float(facts["accuracy"]),
        "accuracy_float16": run.score(module),
        "epochs": int(facts["epochs"]),
        "training_seconds": float(facts["training_seconds"]),
        "files": teacher_shards.hashes(run.folder, name),
    }


def epochs_for(run: Pass, module: nn.Module, seconds: float) -> int:
    """Number of epochs that fit, at least one, by the time of some steps of a copy of `module`."""
    train = run.images.train
    recipe = teacher_training.Recipe(epochs=1)
    step_seconds = 0.0
    spare = copy.deepcopy(module)
    for batches in (3, 10):
        count = batches * recipe.batch_size
        start = now(run.device)
        teacher_training.train(spare, train.images_BCHW[:count], train.labels_B[:count], recipe, run.device)
        steps = max(1, min(count, len(train.labels_B)) // recipe.batch_size)
        step_seconds = (now(run.device) - start) / steps
    epoch = step_seconds * max(1, len(train.labels_B) // recipe.batch_size)
    return max(1, min(run.scale.most_epochs, int(seconds / epoch)))


class Tenths(Snapshots):
    """Scores every copy of the student at once. Time counts from the first round."""

    def __init__(self, student: nn.Module, seconds: float, score: Callable[[Snapshot], None]) -> None:
        super().__init__(student, seconds, since="distilling")
        self._score = score

    def should_stop(self) -> str | None:
        """Called by the engine after every round; never stops it."""
        before = len(self.tenths)
        reason = super().should_stop()
        for shot in self.tenths[before:]:
            self._score(shot)
        return reason


def student(
    run: Pass,
    pair: tuple[str, str],
    method: str,
    until: float,
    *,
    graphs: bool,
    teacher_accuracy: float,
    report: Report,
) -> dict[str, Any]:
    """Distil a student within the time, closing evaluation included; `report` gets each tenth's accuracy.

    A run that fails with CUDA graphs is repeated without them in the remaining time.
    """
    stored = teacher_shards.read(run.folder, pair[0])
    if stored is None:
        raise FileNotFoundError(f"the files of {pair[0]} are not in {run.folder}")
    teacher_network = run.network(pair[0])
    teacher_network.load_state_dict(stored[0])
    images = len(run.images.test.labels_B)  # read before the clock starts
    run.student_seconds = run.training_seconds(until)
    distil = functools.partial(_distilled, run, teacher_network, pair[1], method, report=report)
    refusal: dict[str, str] = {}
    if graphs:
        try:
            figures = distil(run.student_seconds, graphs=True)
        except (DfadError, torch.cuda.OutOfMemoryError):
            raise
        except RuntimeError as error:
            print(f"repeated without CUDA graphs: {error}", file=sys.stderr, flush=True)
            refusal = {"graphs_failed": f"{type(error).__name__}: {error}"[:2000]}
            graphs = False
        release(run.device)
    if not graphs:
        figures = distil(run.training_seconds(until), graphs=False)
    return {
        "dataset": run.images.name,
        "images": images,
        "pair": ":".join(pair),
        "method": method,
        "seed": SEED,
        "batch_size": run.scale.batch_size,
        "teacher_accuracy": teacher_accuracy,
        "gap": round(teacher_accuracy - figures["student_accuracy"], 4),
        "graphs": graphs,
        **refusal,
        **figures,
    }


def _distilled(
    run: Pass,
    teacher_network: nn.Module,
    name: str,
    method: str,
    seconds: float,
    *,
    graphs: bool,
    report: Report,
) -> dict[str, Any]:
    start = time.monotonic()
    config = DistillConfig(
        input=run.scale.input,
        num_classes=run.scale.num_classes,
        method=MethodConfig(method),
        budget=BudgetConfig(steps=10_000_000, train_seconds=seconds),
        training=TrainingConfig(batch_size=run.scale.batch_size, cuda_graphs=graphs),
        device="cuda" if run.device.type == "cuda" else "cpu",
        seed=SEED,
    )
    module, spare = run.network(name), run.network(name).to(run.device)
    facts = recipe_facts(config, teacher_has_bn=bool(bn_layers(teacher_network)))
    updates = updates_a_round(config, teacher_network)
    work = Work(config, teacher_network, module)
    curve: list[dict[str, Any]] = []

    def point(seconds: float, step: int, queries: int, share: float) -> dict[str, Any]:
        pflop = float(f"{work.petaflop(step, queries):.4g}")
        figures = {"seconds": round(seconds, 2), "step": step, "queries": queries}
        return {**figures, "pflop": pflop, "accuracy": share}

    def scored(shot: Snapshot) -> None:
        share = run.score(same_network(spare, shot.weights))
        curve.append(point(shot.seconds, shot.step, shot.queries, share))
        report({"tenth": int(10 * shot.seconds / seconds), "method": method, **curve[-1]})

    load = MachineLoad()
    result = distill(teacher_network, module, config, Tenths(module, seconds, scored))
    others = load.figures()
    queries, final = int(result.metrics["teacher_queries"]), run.score(result.student)
    curve.append(point(result.seconds, result.steps, queries, final))
    run.closing_seconds = max(run.closing_seconds, 1.2 * (time.monotonic() - start - result.seconds))
    return {
        "student_accuracy": final,
        "budget_seconds": seconds,
        "training_seconds": round(result.seconds, 2),
        "steps": result.steps,
        "updates_a_round": updates,
        **_rates(updates * config.training.batch_size, result, curve[-1]["pflop"]),
        "teacher_queries": queries,
        **facts,
        **others,
        "curve": curve,
        "fidelity": {source: round(value, 5) for source, value in result.fidelity.items()},
    }


def _rates(images_a_round: int, result: DistillResult, pflop: float) -> dict[str, Any]:
    """Images shown to the student and arithmetic done, per second of training."""
    images = result.steps * images_a_round
    return {
        "presentations_per_second": round(images / result.seconds, 1),
        "pflop": pflop,
        "tflops": float(f"{1000 * pflop / result.seconds:.4g}"),
    }
