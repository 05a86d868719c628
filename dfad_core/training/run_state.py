"""The state of one run: networks, optimizers, pool, random streams and clock; saved and restored as one."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from dfad_core.contract.config import MAX_POOL_BYTES, MIN_SLICE, DistillConfig
from dfad_core.contract.errors import ShapeError
from dfad_core.contract.evaluation_plan import batch_size
from dfad_core.contract.limits import POOL_SHARE, filled_batches, fitting_slices
from dfad_core.contract.recipe import FIRST_BATCHES
from dfad_core.data import Batch, Pool, Streams
from dfad_core.data.class_deck import ClassDeck
from dfad_core.hooks import nothing
from dfad_core.losses.virtual_interpolation import Mixing
from dfad_core.methods import build_objective, resolve_recipe
from dfad_core.methods.bias_statistics import (
    MOST_AT_ONCE,
    Statistics,
    estimated_statistics,
    number_of_images,
)
from dfad_core.methods.image_choice import ImageChoice
from dfad_core.methods.schedules import generator_rate, student_rate
from dfad_core.networks.batch_norm import bn_layers
from dfad_core.networks.cost import cost
from dfad_core.networks.drawings import Collages
from dfad_core.networks.folding import folded
from dfad_core.networks.inheritance import inherit
from dfad_core.networks.input_statistics import pixel_range
from dfad_core.networks.last_layer import float32_logits
from dfad_core.networks.pixel_range import PixelRange
from dfad_core.networks.refolding import unfolded_layers
from dfad_core.training import profiling
from dfad_core.training.checkpoint import restoring
from dfad_core.training.clock import Clock
from dfad_core.training.cuda_graphs import CudaRecorder, GraphedSteps
from dfad_core.training.distributed import current_group
from dfad_core.training.ema import WeightAverage
from dfad_core.training.finite_guard import FiniteGuard
from dfad_core.training.generator_phase import GeneratorPhase
from dfad_core.training.image_sources import (
    DRAWN,
    LEARNED,
    SEARCHED,
    ExtraBatches,
    build_label_layer,
    build_source,
    labelled_batch,
)
from dfad_core.training.optimizers import PEAK_RATES, load_optimizer, make_optimizer
from dfad_core.training.queries import Queries
from dfad_core.training.runtime import Runtime
from dfad_core.training.search_phase import SearchPhase
from dfad_core.training.single_images import SingleImages
from dfad_core.training.sizing import RoundSeconds, Sizing, memory_for_run, memory_of_run, round_seconds
from dfad_core.training.student_phase import StudentPhase
from dfad_core.training.teacher_with_bn import with_batch_norm
from dfad_core.training.thread_choice import ThreadChoice, TrialPass

T = TypeVar("T")

INHERITANCE_IMAGES = 64
"""Drawn images on which a student that inherits folded layers sets its BN."""


class RunState:
    """One run, built from a config.

    `generator_phase` trains one generator over all rounds, `search_phase` fits each batch anew; a run has at
    most one of them. Without both, images are drawn at random. `close` detaches everything from the networks.
    """

    def __init__(
        self,
        teacher: nn.Module,
        student: nn.Module,
        generator: nn.Module | None,
        config: DistillConfig,
        runtime: Runtime,
        *,
        label_embeddings_KE: Tensor | None = None,
        pixels: PixelRange | None = None,
        statistics: Statistics | None = None,
        memory_limit: int | None = None,
    ) -> None:
        """`pixels`, `statistics`: those of a checkpoint (`saved_range`, `saved_statistics`); None: they are
        estimated.

        `memory_limit`: memory that this process may hold on a CPU; None: what the machine has.
        """
        training, device = config.training, runtime.device
        self.config, self.runtime = config, runtime
        self.group = current_group()
        self.batch_size = self.group.share(training.batch_size, training.accumulation or 1)
        self.clock = Clock(config.budget)
        self.streams = Streams(config.seed, device, self.group.rank)
        self.guard = FiniteGuard(device, group=self.group)
        self.queries = Queries()
        """Of this process; after a resumption, of the whole run."""
        self.sign_of_life: Callable[[], None] = nothing
        """Called within rounds between their parts."""
        self._attached = contextlib.ExitStack()

        # The networks and their objectives.
        self.teacher = _placed(teacher, device).eval()
        self.student = _placed(student, device).train()
        example_BCHW = torch.zeros(2, *config.input.shape, device=device)
        self._check_shapes(example_BCHW)
        self.teacher_macs, self.student_macs = (
            cost(network, config.input.shape).macs for network in (self.teacher, self.student)
        )
        """Multiply-accumulates for one image."""
        self.pixels = pixels or self._estimated_range()
        self.teacher = self._with_batch_norm(statistics)
        self.recipe = resolve_recipe(
            config, teacher_has_bn=bool(bn_layers(self.teacher)), student_has_bn=bool(bn_layers(student))
        )
        source, self.latent_dim = build_source(self.recipe, config, generator, self.pixels)
        self.generator = _placed(source, device).train()
        for module in (self.teacher, self.student, self.generator):
            module.requires_grad_(False)
        self.inherited = self._inherit() if self.recipe.start_from_teacher else 0
        """Tensors with which the student began as its teacher."""
        self.objective = build_objective(self.recipe, self.teacher, self.student, example_BCHW)
        self.objective.labeller = _placed(folded(self.teacher, example_BCHW), device)
        self.average = self._student_average()

        # The student's batches, and how they are sized to the memory.
        self.pool, self.sizing = self._sized(memory_limit)
        self.single_images = self._single_images() if self.recipe.single_images else None
        self.extra_batches = ExtraBatches(self.recipe, config, self.generator, self.streams, self.pixels)

        # The phases of student and generator.
        graphed = self._records_graphs()
        self._graphs = GraphedSteps(CudaRecorder(device), self.queries) if graphed else None
        learners = nn.ModuleList([self.student, _placed(self.objective.adapters, device)])
        self.student_phase = self._student_phase(learners, rate_as_tensor=graphed)
        self.generator_phase: GeneratorPhase | None = None
        self.search_phase: SearchPhase | None = None
        if self.recipe.source in SEARCHED:
            self.search_phase = self._search_phase(label_embeddings_KE)
        elif self.recipe.source in LEARNED:
            self.generator_phase = self._generator_phase(rate_as_tensor=graphed)
        self.thread_choice = self._thread_choice()
        try:
            self._attach(example_BCHW)
        except BaseException:
            self.close()
            raise

    def _inherit(self) -> int:
        device = self.runtime.device
        collages = Collages(self.config.input.shape, self.pixels).to(device)
        stream = torch.Generator(device).manual_seed(0)
        z_B1 = torch.randn(INHERITANCE_IMAGES, collages.latent_dim, generator=stream, device=device)
        with self.queries.counting(self.teacher):
            return inherit(self.student, self.teacher, collages(z_B1))

    def _student_average(self) -> WeightAverage | None:
        decay = self.recipe.student_average
        return WeightAverage(self.student, decay) if decay else None

    def _sized(self, memory_limit: int | None) -> tuple[Pool, Sizing]:
        free_bytes = memory_for_run(self.runtime, memory_limit, self.teacher, self.student)
        training, batch_bytes = self.config.training, self._pool_batch_bytes
        batches = min(self.recipe.pool_batches, self.config.max_pool_batches)
        if training.pool_batches is None and free_bytes is not None:
            batches = min(batches, int(POOL_SHARE * free_bytes / batch_bytes), MAX_POOL_BYTES // batch_bytes)
        # Images that are fitted pixel by pixel exist in the pool alone, and so do single ones.
        least = 1 if self.recipe.source == "pixels" or self.recipe.single_images else 0
        pool = Pool(max(batches, least))
        memory = memory_of_run(
            self.recipe,
            self.teacher,
            self.student,
            self.generator if self.recipe.source in LEARNED else None,
            self.runtime,
            shape=self.config.input.shape,
            latent_dim=self.latent_dim,
            batch_size=self.batch_size,
            pool_bytes=filled_batches(self.recipe, pool.capacity, self.config.budget.steps) * batch_bytes,
        )
        # The same number in all processes: that of the one with least memory.
        slices = torch.tensor(fitting_slices(memory, free_bytes), device=self.runtime.device)
        self.group.maximum(slices)
        return pool, Sizing(memory, free_bytes, training.accumulation or int(slices))

    @property
    def _pool_batch_bytes(self) -> int:
        """Size of this process's images of one batch in the pool."""
        return self.batch_size * math.prod(self.config.input.shape) * self.runtime.storage_dtype.itemsize

    @property
    def slices(self) -> int:
        """Slices of each batch; one after the other goes through the networks."""
        return self.sizing.slices

    @property
    def slice_images(self) -> int:
        """Images in a slice of this process's batch, at most."""
        return -(-self.batch_size // self.slices)

    def round_seconds(self) -> RoundSeconds:
        """Time of one round, by trial passes (`sizing.round_seconds`); the slowest process's."""
        queries = self.queries.images
        seconds = round_seconds(
            self.recipe,
            self.teacher,
            self.objective.labeller or self.teacher,
            self.student,
            self.runtime,
            macs=(self.teacher_macs, self.student_macs),
            shape=self.config.input.shape,
            batch_size=self.batch_size,
            slice_images=self.slice_images,
        )
        self.queries.images = queries  # the trial passes have no images to ask about
        slowest = torch.tensor([seconds.now, seconds.alone], dtype=torch.float64, device=self.runtime.device)
        self.group.maximum(slowest)
        return RoundSeconds(*slowest.tolist())

    def _single_images(self) -> SingleImages:
        chosen = self.recipe.chosen_images
        choice = ImageChoice(self.teacher, self.config.num_classes) if chosen else None
        drawn = self.recipe.source not in LEARNED and self.recipe.first_images != "noise"
        drawn = drawn or self.recipe.source in DRAWN
        return SingleImages(
            self.pool,
            choice,
            self.streams,
            self.batch_size,
            first_batches=FIRST_BATCHES if drawn else 1,
            kind=self.recipe.views,
            mixed_share=self.recipe.mixed_share,
        )

    def _attach(self, example_BCHW: Tensor) -> None:
        """Attach profiling, and float32 logits under bfloat16, to the networks for the time of the run."""
        networks = {"teacher": self.teacher, "student": self.student, "generator": self.generator}
        answering = [self.teacher]
        labeller = self.objective.labeller
        if labeller is not None and labeller is not self.teacher:
            networks["labelling teacher"] = labeller
            answering.append(labeller)
        optimizers = [self.student_phase.optimizer]
        if self.generator_phase is not None:
            optimizers.append(self.generator_phase.optimizer)
        self._attached.enter_context(profiling.attached(networks, optimizers))
        if self.runtime.precision == "bfloat16":
            for name, network in networks.items():
                if name != "generator":
                    self._attached.enter_context(float32_logits(network, example_BCHW))
        self._attached.enter_context(self.queries.counting(*answering))

    def close(self) -> None:
        """Detach everything that the run attached to the networks."""
        self._attached.close()

    def _estimated_range(self) -> PixelRange:
        """The first process's estimate, in all: machines may round differently."""
        with self.queries.counting(self.teacher):
            return self.group.value_of_first(pixel_range(self.config.input, self.teacher))

    def _with_batch_norm(self, statistics: Statistics | None) -> nn.Module:
        """The teacher; with BN again where that was folded away."""
        network = with_batch_norm(
            self.teacher,
            self.config,
            self.pixels,
            macs=self.teacher_macs,
            queries=self.queries,
            statistics=statistics,
        )
        return _placed(network, self.runtime.device)

    def _student_phase(self, learners: nn.Module, *, rate_as_tensor: bool) -> StudentPhase:
        kind = self.recipe.student_optimizer
        optimizer = make_optimizer(
            kind,
            list(learners.parameters()),
            self.recipe.student_learning_rate or PEAK_RATES[kind],
            self.recipe.weight_decay,
            rate_as_tensor=rate_as_tensor,
        )
        self.group.average_before_steps(optimizer)
        return StudentPhase(learners, optimizer, self.runtime)

    def _generator_phase(self, *, rate_as_tensor: bool) -> GeneratorPhase:
        optimizer = make_optimizer(
            "adam",
            list(self.generator.parameters()),
            self.recipe.generator_learning_rate,
            rate_as_tensor=rate_as_tensor,
        )
        self.group.average_before_steps(optimizer)
        return GeneratorPhase(self.generator, optimizer, self.runtime)

    def _search_phase(self, label_embeddings_KE: Tensor | None) -> SearchPhase:
        labels = build_label_layer(self.recipe, self.config, label_embeddings_KE)
        return SearchPhase(
            self.generator,
            self.runtime,
            self.guard,
            recipe=self.recipe,
            steps=self.recipe.inner_steps,
            deck=ClassDeck(self.config.num_classes, self.config.seed, self.group.rank, self.group.size),
            streams=self.streams,
            labels=None if labels is None else labels.to(self.runtime.device),
            bounds=self.pixels.bounds,
            between=self._give_sign,
        )

    def _give_sign(self) -> None:
        self.sign_of_life()

    def _thread_choice(self) -> ThreadChoice | None:
        """None where the config sets the number of threads, or several processes or a GPU do the work."""
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
            batch_size=self.slice_images,
            macs=self.teacher_macs + self.student_macs,
        )
        return ThreadChoice(available, trial_pass)

    @property
    def num_threads(self) -> int:
        """CPU threads in use."""
        return self.runtime.threads if self.thread_choice is None else self.thread_choice.threads

    def _records_graphs(self) -> bool:
        """Whether steps are recorded as CUDA graphs: on a GPU, if the config says so and it is possible."""
        training = self.config.training
        whole_batches = self.slices == 1 and self.group.size == 1
        constant = not self.recipe.activation_decay  # a weight that changes would stay as it was recorded
        return training.cuda_graphs and whole_batches and constant and self.runtime.device.type == "cuda"

    def call(self, step: Callable[..., T], *inputs: Any) -> T:
        """The outputs of `step(self, *inputs)`; with CUDA graphs, of its recording once there is one."""
        with profiling.region(step.__name__.replace("_", " ")):
            if self._graphs is None or self.guard.waits_for_device:
                return step(self, *inputs)
            return self._graphs(step, self, *inputs)

    def _check_shapes(self, example_BCHW: Tensor) -> None:
        """ShapeError unless teacher and student turn images into (B, K) logits."""
        expected = (2, self.config.num_classes)
        for name, network in (("teacher", self.teacher), ("student", self.student)):
            training = network.training
            try:
                with torch.no_grad():
                    logits_BK = network.eval()(example_BCHW)
            except (RuntimeError, ValueError, IndexError) as error:
                raise ShapeError(f"the {name} refuses its input: {error}", param=name) from error
            network.train(training)
            if tuple(logits_BK.shape) != expected:
                raise ShapeError(
                    f"the {name} gives {tuple(logits_BK.shape)} for two images, not {expected}", param=name
                )

    def spent(self) -> float:
        """Spent share of the budget, 0 to 1, the same in every process of the job."""
        return self.group.from_first([self.clock.fraction], self.runtime.device)[0]

    def set_rates(self, fraction: float) -> None:
        """Set the learning rates of student and generator for this share of the budget."""
        warm_up = self.recipe.warm_up
        self.objective.without_student = fraction < warm_up
        decay = self.recipe.activation_decay
        self.objective.activation_factor = max(0.0, 1 - fraction / decay) if decay else 1.0
        self.student_phase.set_rate(student_rate(max(0.0, fraction - warm_up) / (1 - warm_up)))
        for phase in (self.generator_phase, self.search_phase):
            if phase is not None:
                phase.set_rate(generator_rate(fraction))

    def noise(self, batch_size: int | None = None) -> Tensor:
        """z for the generator, (B, Z), standard normal."""
        return self.streams.noise(batch_size or self.batch_size, self.latent_dim)

    def mixings(self, batch: Batch) -> tuple[Mixing | None, ...]:
        """Partners and shares of virtual interpolation for each slice of `batch`; None without it.

        A batch that has lost images has fewer slices, so that each keeps two images.
        """
        concentration = self.objective.mixing_concentration
        count = self.slices
        if self.group.size == 1:  # several processes look at each slice together, so all keep their number
            count = max(1, min(count, len(batch) // MIN_SLICE))
        slices = batch.split(count)
        if concentration is None:
            return tuple(None for _ in slices)
        return tuple(self.streams.mixing(len(part), concentration) for part in slices)

    def new_batch(self) -> Batch:
        """New images of the generator, or drawn ones, with the teacher's logits."""
        return labelled_batch(
            lambda: self.generator(self.noise()),
            self.objective,
            self.runtime,
            self.guard,
            choice=self.choice,
            slices=self.slices,
        )

    @property
    def choice(self) -> ImageChoice | None:
        """What chooses among the images of the pool, if the recipe has it."""
        return None if self.single_images is None else self.single_images.choice

    def fitted_batch(self, record: Callable[[str, Tensor], None]) -> Batch:
        """New images of the search, with what the choice of images reads."""
        assert self.search_phase is not None
        batch = self.search_phase.step(self.noise(), self.objective, self.student, record, self.slices)
        return batch if self.choice is None else self._measured(batch)

    def _measured(self, batch: Batch, *, stages: bool = True) -> Batch:
        """The images of `batch`, labelled again with what the choice of images reads."""
        images_BCHW = batch.images_BCHW.float()
        return labelled_batch(
            lambda: images_BCHW,
            self.objective,
            self.runtime,
            self.guard,
            stages=stages,
            choice=self.choice,
            slices=self.slices,
        )

    def refine_statistics(self, fitted: int) -> None:
        """Estimate anew the statistics of BN that was put back, from the newest images, also mirrored.

        `fitted` batches of the pool, the newest, are of a search: they are nearer to the data than drawings.
        The pool's images are measured by the new statistics; where these are not finite, the old ones stay.
        """
        shape = self.config.input.shape
        most = number_of_images(self.teacher, self.teacher_macs, shape) // 2
        newest = self.pool.recent(max(1, min(fitted, most // self.batch_size)))

        def views() -> Iterator[Tensor]:
            for batch in newest:
                for images_BCHW in torch.split(batch.images_BCHW, batch_size(shape, MOST_AT_ONCE)):
                    self.sign_of_life()
                    yield images_BCHW.float()
                    yield images_BCHW.float().flip(-1)

        statistics = self.group.value_of_first(estimated_statistics(self.teacher, views()))
        if not all(bool(torch.isfinite(values_C).all()) for both in statistics for values_C in both):
            return
        for layer, (mean_C, var_C) in zip(unfolded_layers(self.teacher), statistics, strict=True):
            layer.set_statistics(mean_C.to(self.runtime.device), var_C.to(self.runtime.device))

        def measured(batch: Batch) -> Batch:
            self.sign_of_life()
            return self._measured(batch, stages=False)

        if self.choice is not None:
            self.pool.change(measured)

    def batch_of_views(self) -> Batch:
        """Views of single images of the pool, labelled by the teacher."""
        assert self.single_images is not None
        return labelled_batch(
            self.single_images.views, self.objective, self.runtime, self.guard, slices=self.slices
        )

    def raise_if_not_finite(self) -> None:
        """Raise DivergedError if a loss was not finite; remove images whose logits are not finite."""
        if self.guard.raise_if_set(self.queries.images):
            self.pool.drop_not_finite()
            self._choose_images()

    def _choose_images(self) -> None:
        if self.single_images is not None:
            self.single_images.choose()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next round depends on, as tensors, numbers and text."""
        return {
            "step": self.clock.step,
            "queries": self.queries.images,
            "slices": self.slices,
            "pixels": dataclasses.asdict(self.pixels),
            "statistics": [layer.statistics for layer in unfolded_layers(self.teacher)],
            "seconds": self.clock.seconds,
            "student": self.student.state_dict(),
            "adapters": self.objective.adapters.state_dict(),
            "generator": self.generator.state_dict(),
            "student_optimizer": self.student_phase.optimizer.state_dict(),
            "generator_phase": None if self.generator_phase is None else self.generator_phase.state_dict(),
            "search_phase": None if self.search_phase is None else self.search_phase.state_dict(),
            "extra_batches": self.extra_batches.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "pool": self.pool.state_dict(),
            "streams": self.streams.state_dict(),
            "guard": self.guard.state_dict(),
            "threads": None if self.thread_choice is None else self.thread_choice.state_dict(),
            "torch_stream": torch.get_rng_state(),
            "device_stream": torch.cuda.get_rng_state() if self.runtime.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what `state_dict` returned and start the clock from there.

        The device and its precision may be other ones than those of the checkpoint. Raises CheckpointError
        where a part of the state does not fit this run, which is unusable then.
        """
        with restoring():
            self._load(state)
            self.clock.start(state["step"], state["seconds"])

    def _load(self, state: dict[str, Any]) -> None:
        if not self.config.training.accumulation:
            # The number that the run began with, unless there is less memory here.
            slices = max(self.slices, state.get("slices", 1))
            self.sizing = dataclasses.replace(self.sizing, slices=slices)
            if self.slices > 1:
                self._graphs = None
        self.student.load_state_dict(state["student"])
        self.objective.adapters.load_state_dict(state["adapters"])
        self.generator.load_state_dict(state["generator"])
        load_optimizer(self.student_phase.optimizer, state["student_optimizer"])
        for name, phase in (("generator_phase", self.generator_phase), ("search_phase", self.search_phase)):
            if phase is not None:
                phase.load_state_dict(state[name])
        self.extra_batches.load_state_dict(state["extra_batches"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.pool.load_state_dict(state["pool"], self.runtime.device, self.runtime.storage_dtype)
        self._choose_images()
        self.streams.load_state_dict(state["streams"])
        self.guard.load_state_dict(state["guard"])
        torch.set_rng_state(state["torch_stream"].cpu())
        if state["device_stream"] is not None and self.runtime.device.type == "cuda":
            torch.cuda.set_rng_state(state["device_stream"].cpu())
        if self.thread_choice is not None and state.get("threads") is not None:
            self.thread_choice.load_state_dict(state["threads"])
        self.queries.images = state["queries"]


def saved_range(state: dict[str, Any]) -> PixelRange:
    """The range in a state that `RunState.state_dict` returned. CheckpointError if there is none."""
    with restoring():
        return PixelRange(**state["pixels"])


def saved_statistics(state: dict[str, Any]) -> Statistics:
    """The estimated statistics in a state that `RunState.state_dict` returned. CheckpointError if absent."""
    with restoring():
        return [(mean_C, var_C) for mean_C, var_C in state["statistics"]]


def _placed(module: nn.Module, device: torch.device) -> nn.Module:
    return module.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
