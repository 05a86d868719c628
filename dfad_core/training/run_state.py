"""All the moving parts of one run, built from a config, and saved and restored as one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.contract.catalog import get_method
from dfad_core.contract.config import BudgetConfig, DistillConfig
from dfad_core.data import Batch, Pool, Streams
from dfad_core.errors import ShapeError
from dfad_core.methods import build_objective, resolve_recipe
from dfad_core.methods.schedules import generator_rate, student_rate
from dfad_core.networks.batch_norm import bn_layers
from dfad_core.networks.folding import folded
from dfad_core.networks.input_statistics import pixel_range
from dfad_core.profiling import region
from dfad_core.training.cuda_graphs import CudaRecorder, Replay
from dfad_core.training.distributed import current_group
from dfad_core.training.ema import WeightAverage
from dfad_core.training.extra_batches import ExtraBatches
from dfad_core.training.finite_guard import FiniteGuard
from dfad_core.training.image_sources import LEARNED, build_image_source, build_source
from dfad_core.training.phases import StudentPhase, load_optimizer, make_optimizer
from dfad_core.training.runtime import Runtime
from dfad_core.training.thread_choice import ThreadChoice, TrialPass

PEAK_RATES = {"adam": 2e-3, "sgd": 0.05}
"""Student's peak rate where the job names none."""


class Clock:
    """How far a run is, in steps and in seconds of training, over all its interruptions."""

    def __init__(self, budget: BudgetConfig) -> None:
        self._budget = budget
        self.step = 0
        self._seconds_before = 0.0
        self._started: float | None = None

    @property
    def seconds(self) -> float:
        """Training time until now."""
        running = 0.0 if self._started is None else time.monotonic() - self._started
        return self._seconds_before + running

    @property
    def fraction(self) -> float:
        """Spent share of the budget, 0 to 1."""
        steps = self.step / self._budget.steps
        if self._budget.train_seconds is None:
            return min(steps, 1.0)
        return min(max(self.seconds / self._budget.train_seconds, steps), 1.0)

    @property
    def eta_seconds(self) -> float | None:
        """Expected time to the end; None before the first step."""
        fraction, seconds = self.fraction, self.seconds
        return None if self.step == 0 or fraction == 0 else seconds * (1 - fraction) / fraction

    def start(self, step: int = 0, seconds: float = 0.0) -> None:
        """Begin or go on."""
        self.step, self._seconds_before, self._started = step, seconds, time.monotonic()


class RunState:
    """Networks, phases, objective, pool, streams and clock of one run."""

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        generator: nn.Module | None,
        config: DistillConfig,
        runtime: Runtime,
        *,
        label_embeddings_KE: Tensor | None = None,
    ) -> None:
        training, device = config.training, runtime.device
        self.config, self.runtime = config, runtime
        self.group = current_group()
        self.batch_size = self.group.share(training.batch_size)
        self.recipe = resolve_recipe(config.method, teacher_has_bn=bool(bn_layers(teacher)))
        self.teacher = _placed(teacher, device).eval()
        self.student = _placed(student, device).train()
        self._example = torch.zeros(2, *config.input.shape, device=device)
        self._check_shapes()
        self.pixels = pixel_range(config.input, self.teacher)
        source, self.latent_dim = build_source(self.recipe, config, generator, self.pixels)
        self.generator = _placed(source, device).train()
        for module in (self.teacher, self.student, self.generator):
            module.requires_grad_(False)
        self.objective = build_objective(self.recipe, self.teacher, self.student, self._example)
        self.objective.labeller = _placed(folded(self.teacher, self._example), device)
        self.streams = Streams(config.seed, device, self.group.rank)
        method = get_method(config.method.name)
        self.student_steps = training.student_steps or method.student_steps
        kept = method.pool_batches if training.pool_batches is None else training.pool_batches
        # What was fitted pixel by pixel, or comes beside the game, can only be shown from the pool.
        self.pool = Pool(max(kept, 1 if self.recipe.source == "pixels" else 0))
        self.clock = Clock(config.budget)
        self.guard = FiniteGuard(device)
        learners = nn.ModuleList([self.student, _placed(self.objective.adapters, device)])
        peak = training.student_learning_rate or PEAK_RATES[training.student_optimizer]
        self.generator_phase = build_image_source(
            self.recipe,
            config,
            self.generator,
            inner_steps=training.inner_steps or method.inner_steps,
            runtime=runtime,
            guard=self.guard,
            streams=self.streams,
            label_embeddings_KE=label_embeddings_KE,
            replay=self._replay(),
        )
        self.extra_batches = ExtraBatches(self.recipe, config, self.generator, self.streams, self.pixels)
        decay = self.recipe.student_average
        self.average = WeightAverage(self.student, decay) if decay else None
        self.student_phase = StudentPhase(
            learners,
            make_optimizer(
                training.student_optimizer,
                learners.parameters(),
                peak,
                training.weight_decay,
                recorded=self._replay() is not None,
            ),
            runtime,
            self.guard,
            parts=training.accumulation,
            replay=self._replay(),
        )
        self.thread_choice = self._thread_choice()

    def _thread_choice(self) -> ThreadChoice | None:
        """None where the number of threads is given, or several processes or a GPU do the work."""
        available = self.runtime.threads
        if self.config.training.threads or available == 1 or self.group.size > 1:
            return None
        if self.runtime.device.type != "cpu":
            return None
        trial_pass = TrialPass(
            self.generator,
            self.objective.labeller or self.teacher,
            self.student,
            self.runtime,
            latent_dim=self.latent_dim,
            shape=self.config.input.shape,
            batch_size=self.batch_size,
        )
        return ThreadChoice(available, trial_pass)

    @property
    def num_threads(self) -> int:
        """CPU threads in use."""
        return self.runtime.threads if self.thread_choice is None else self.thread_choice.threads

    def _replay(self) -> Replay | None:
        """A new recorder for one phase, where its steps can be recorded and that is asked for."""
        training, device = self.config.training, self.runtime.device
        if not training.cuda_graphs or training.accumulation > 1 or self.group.size > 1:
            return None
        return Replay(CudaRecorder(device)) if device.type == "cuda" else None

    @property
    def learned_generator(self) -> nn.Module | None:
        """The generator, if the method has one that learns."""
        return self.generator if self.recipe.source in LEARNED else None

    def _check_shapes(self) -> None:
        """ShapeError unless teacher and student turn the generator's images into (B, K) logits."""
        networks = {"teacher": self.teacher, "student": self.student}
        modes = {name: network.training for name, network in networks.items()}
        with torch.no_grad():
            for name, network in networks.items():
                try:
                    logits = network.eval()(self._example)
                except (RuntimeError, ValueError, IndexError) as error:
                    raise ShapeError(f"the {name} refuses its input: {error}", param=name) from error
                expected = (2, self.config.num_classes)
                if tuple(logits.shape) != expected:
                    raise ShapeError(
                        f"the {name} gives {tuple(logits.shape)} for two images, not {expected}", param=name
                    )
                network.train(modes[name])

    def spent(self) -> float:
        """Spent share of the budget, 0 to 1, the same in every process of the job."""
        return self.group.from_first([self.clock.fraction], self.runtime.device)[0]

    def noise(self, batch_size: int | None = None) -> Tensor:
        """Fresh z for the generator, (B, Z)."""
        return self.streams.noise(batch_size or self.batch_size, self.latent_dim)

    def fresh_batch(self) -> Batch:
        """A batch of the generator as it is now, labelled by the teacher, without any graph."""
        with torch.no_grad(), self.runtime.autocast():
            with region("generator"):
                images_BCHW = self.generator(self.noise())
            logits_BK, marks = self.objective.ask_teacher(images_BCHW)
        images_BCHW = images_BCHW.to(self.runtime.storage_dtype)
        return Batch(images_BCHW, logits_BK, marks.stages, marks.attention)

    def play_round(self, record: Callable[[str, Tensor], None]) -> Batch:
        """One step: the generator moves, the student answers `student_steps` times, the pool keeps.

        The generator's own batch serves the first student update, with the teacher's answers that
        were computed for it. The other updates draw from the pool, or make fresh batches if the pool
        has no places.
        """
        fraction = self.spent()
        self.generator_phase.set_rate(generator_rate(fraction))
        self.student_phase.set_rate(student_rate(fraction))
        newest = self.generator_phase.step(self.noise(), self.objective, self.student, record)
        with region("pool"):
            self.pool.push(newest)
        beside = self.extra_batches.make(self.objective, runtime=self.runtime, size=len(newest))
        for batch in beside:
            self.pool.push(batch)
        for update in range(self.student_steps):
            batch = self._batch_for(update, newest, beside)
            self.student_phase.step(batch, self.objective, self.student, self.streams.mixing, record)
            if self.average is not None:
                with region("averages"):
                    self.average.update()
        self.clock.step += 1
        return newest

    def _batch_for(self, update: int, newest: Batch, beside: list[Batch]) -> Batch:
        if update == 0 or self.recipe.same_batch:
            return newest
        if self.pool.capacity > 0:
            with region("pool"):
                return self.pool.draw(self.streams.pool)
        return beside[update - 1] if update <= len(beside) else self.fresh_batch()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on, as tensors, numbers and text."""
        return {
            "step": self.clock.step,
            "queries": self.objective.queries,
            "seconds": self.clock.seconds,
            "student": self.student.state_dict(),
            "adapters": self.objective.adapters.state_dict(),
            "generator": self.generator.state_dict(),
            "student_optimizer": self.student_phase.optimizer.state_dict(),
            "generator_phase": self.generator_phase.state_dict(),
            "extra_batches": self.extra_batches.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "pool": self.pool.state_dict(),
            "streams": self.streams.state_dict(),
            "threads": None if self.thread_choice is None else self.thread_choice.state_dict(),
            "torch_stream": torch.get_rng_state(),
            "device_stream": torch.cuda.get_rng_state() if self.runtime.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave and start the clock from there."""
        self.student.load_state_dict(state["student"])
        self.objective.adapters.load_state_dict(state["adapters"])
        self.generator.load_state_dict(state["generator"])
        load_optimizer(self.student_phase.optimizer, state["student_optimizer"])
        self.generator_phase.load_state_dict(state["generator_phase"])
        self.extra_batches.load_state_dict(state["extra_batches"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.pool.load_state_dict(state["pool"], self.runtime.device)
        self.streams.load_state_dict(state["streams"])
        torch.set_rng_state(state["torch_stream"].cpu())
        if state["device_stream"] is not None and self.runtime.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_stream"].cpu())
        if self.thread_choice is not None and state.get("threads") is not None:
            self.thread_choice.load_state_dict(state["threads"])
        self.objective.queries = state["queries"]
        self.clock.start(state["step"], state["seconds"])


def _placed(module: nn.Module, device: torch.device) -> nn.Module:
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
