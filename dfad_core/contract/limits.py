"""Limits of a job, memory and time, and what it needs of both. Torch-free.

Activations dominate the memory: what a network keeps of each image until its gradient is computed. A batch
that is too large for the memory is cut into slices, one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from dfad_core.contract.errors import ConfigError
from dfad_core.contract.evaluation_plan import kept_images
from dfad_core.contract.recipe import FIRST_BATCHES, VIEWS_KEPT, Recipe

GOOD_SLICE, LEAST_SLICE = 32, 8
"""Least number of images in a slice that is chosen here: batch norm sees one slice at a time, and its
statistics over 32 images are those of a batch. Fewer are taken, with a warning, only where 32 do not fit."""
MEMORY_SHARE = 0.8
"""Share of the memory that the estimate may fill; the rest is for what is not counted."""
MEMORY_DOUBT = 1.5
"""Factor between an estimate and a measured peak. A job is refused only if it would not fit even so."""
TIME_DOUBT = 1.5
"""The same for times: another program may run now and be gone in an hour."""
TIME_SHARE = 0.8
"""Share of a deadline that a proposal fills."""

FLOAT_BYTES = 4
PROGRAM_BYTES = 64 * 2**20
"""Memory that the program takes during a job besides tensors: libraries, and buffers within kernels."""
GRADIENT_TENSORS, FORWARD_TENSORS = 3, 8
"""Tensors of the largest size that a pass holds at one time: besides those that it keeps for the gradient,
and where it keeps none. Measured on ResNets and MobileNets of 32 to 224 pixels, on a CPU."""
IMAGES_ALIVE = 8
"""Batches of images that a round holds besides the pool: drawings, views, their crops and mixtures."""
DRAWN_AT_ONCE = 2**21
"""Most values of pixels that are drawn at one time."""
DRAWING_COPIES = 44
"""Memory of drawing, in float32 copies of the images."""
EVALUATION_BYTES, EVALUATION_IMAGES = 512 * 2**20, 64
"""Memory of a pass after training, which is in float32, and its images at most."""
POOL_SHARE = 0.125
"""Share of the memory that a method's own pool may fill."""


@dataclass(frozen=True)
class Limits:
    """Limits of a run that do not change its result, unless batches have to be sliced or it is refused."""

    deadline_seconds: float | None = None
    """Time for training and evaluation. None: no deadline."""
    memory_bytes: int | None = None
    """Memory that the process may hold. None: what the machine has."""


NO_LIMITS = Limits()


@dataclass(frozen=True)
class PassMemory:
    """Memory of one network for one image."""

    gradient_bytes: int
    """Kept by a pass until the gradient of weights and image is computed."""
    largest_bytes: int
    """The largest of the tensors that are kept."""


NO_MEMORY = PassMemory(0, 0)


@dataclass(frozen=True)
class JobMemory:
    """Memory of a training job on one device."""

    image_bytes: int
    """One image in float32."""
    batch_size: int
    fixed_bytes: int
    """Weights, optimizers and the pool."""
    slice_image_bytes: int
    """Each image of a slice."""
    evaluation_bytes: int = 0
    """Passes after training, which do not depend on slices, and the judge's images."""

    def training_bytes(self, slices: int = 1) -> int:
        """Memory at most during training, with batches in so many slices."""
        images = -(-self.batch_size // slices)
        drawing = DRAWING_COPIES * min(self.batch_size * self.image_bytes, DRAWN_AT_ONCE * FLOAT_BYTES)
        batches = IMAGES_ALIVE * self.batch_size * self.image_bytes
        return self.fixed_bytes + batches + max(drawing, images * self.slice_image_bytes)

    def peak_bytes(self, slices: int = 1) -> int:
        """Memory at most, in training or evaluation."""
        return max(self.training_bytes(slices), self.fixed_bytes + self.evaluation_bytes)

    @property
    def most_slices(self) -> int:
        """Number of slices of `LEAST_SLICE` images or a little more."""
        return max(1, self.batch_size // LEAST_SLICE)

    @property
    def least_bytes(self) -> int:
        """Memory at most during training, with the smallest slices."""
        return self.training_bytes(self.most_slices)


def filled_batches(recipe: Recipe, capacity: int, rounds: int) -> int:
    """Batches that are in the pool after so many rounds."""
    extra = recipe.level_set_batches + recipe.averaged_generator + recipe.feature_exchange
    first = FIRST_BATCHES if recipe.single_images else 0
    return min(capacity, first + -(-rounds // recipe.images_every) * (1 + extra))


def job_memory(
    recipe: Recipe,
    *,
    teacher: PassMemory,
    student: PassMemory,
    generator: PassMemory = NO_MEMORY,
    teacher_bytes: int,
    student_bytes: int,
    pool_bytes: int,
    image_bytes: int,
    batch_size: int,
    value_bytes: int = FLOAT_BYTES,
) -> JobMemory:
    """Memory of a job from that of its networks, whose values take `value_bytes` during training.

    `teacher_bytes` and `student_bytes` are their weights, `pool_bytes` the images in the pool.
    """
    moments = 2 if recipe.student_optimizer == "adam" else 1
    # Weights, gradients, moments, average; and what kernels make of weights: another type or order.
    trained = 3 + moments + (recipe.student_average > 0)
    views = VIEWS_KEPT * batch_size * image_bytes if recipe.single_images else 0
    # The teacher has a copy with folded batch norm; checkpoint and evaluation hold the pool a second time.
    fixed = PROGRAM_BYTES + 3 * teacher_bytes + trained * student_bytes + 2 * pool_bytes + views
    made = 0
    if recipe.inner_steps:
        made = _gradient(teacher, 1 + (recipe.contrast_weight > 0)) + _gradient(generator)
        made += _gradient(student) if recipe.adversarial_weight else 0
    update = _gradient(student, 1 + (recipe.interpolation_weight > 0))
    labelled = FORWARD_TENSORS * teacher.largest_bytes
    evaluated = max(_gradient(student), FORWARD_TENSORS * max(teacher.largest_bytes, student.largest_bytes))
    evaluated = evaluated * FLOAT_BYTES // value_bytes
    evaluation = max(evaluated, min(EVALUATION_IMAGES * evaluated, EVALUATION_BYTES))
    evaluation += kept_images(image_bytes // FLOAT_BYTES) * image_bytes
    return JobMemory(image_bytes, batch_size, fixed, max(made, update, labelled), evaluation)


def images_at_once(network: PassMemory, most: int, *, gradient: bool = False) -> int:
    """Number of images, from 1 to `most`, in a pass after training; `gradient`: forward and back."""
    one = _gradient(network) if gradient else FORWARD_TENSORS * network.largest_bytes
    return max(1, min(most, EVALUATION_BYTES // max(1, one)))


def _gradient(network: PassMemory, passes: int = 1) -> int:
    """Bytes of an image in passes forward, whose gradients are computed afterwards."""
    return passes * network.gradient_bytes + GRADIENT_TENSORS * network.largest_bytes


def fitting_slices(memory: JobMemory, free_bytes: int | None) -> int:
    """The least power of two of slices with which a job fits; the most where it fits with none.

    `free_bytes`: the memory that the job may take, its networks included; None: unknown, and one slice.
    """
    slices = 1
    while free_bytes is not None and memory.training_bytes(slices) > MEMORY_SHARE * free_bytes:
        if 2 * slices > memory.most_slices:
            break
        slices *= 2
    return slices


def check_memory(memory: JobMemory, slices: int, free_bytes: int | None) -> None:
    """Raise ConfigError (`memory_limit`) for a job that will not fit, with what would."""
    needed = memory.training_bytes(slices)
    if free_bytes is None or needed <= MEMORY_DOUBT * free_bytes:
        return
    fitting = fitting_slices(memory, free_bytes)
    images = -(-memory.batch_size // slices)
    text = f"Training needs about {size_text(needed)} of memory with slices of {images} images, "
    text += f"and there are {size_text(free_bytes)}. "
    least = memory
    while least.batch_size > LEAST_SLICE and least.least_bytes > MEMORY_SHARE * free_bytes:
        least = replace(least, batch_size=least.batch_size // 2)
    if memory.training_bytes(fitting) <= MEMORY_SHARE * free_bytes:
        text += f"It fits with an `accumulation` of {fitting}; 0 chooses the number."
    elif least.least_bytes <= MEMORY_SHARE * free_bytes:
        text += f"A `batch_size` of {least.batch_size} fits, and so may a smaller student."
    else:
        text += "A smaller student or a smaller pool may fit, or a worker with more memory."
    raise ConfigError(text, code="memory_limit", param="training")


@dataclass(frozen=True)
class Schedule:
    """Expected time of a job."""

    rounds: int
    round_seconds: float
    after: Callable[[int], float]
    """Time of the work after so many rounds."""

    def seconds(self, rounds: int) -> float:
        """Time of a job of so many rounds."""
        return rounds * self.round_seconds + self.after(rounds)

    @property
    def expected_seconds(self) -> float:
        """Time of the job."""
        return self.seconds(self.rounds)

    def rounds_in_time(self, deadline_seconds: float) -> int:
        """Number of rounds, up to the job's own, that end in time with some to spare; 0: not even one."""
        least, most = 0, self.rounds
        while least < most:
            middle = (least + most + 1) // 2
            if self.seconds(middle) <= TIME_SHARE * deadline_seconds:
                least = middle
            else:
                most = middle - 1
        return least

    def check(self, deadline_seconds: float) -> None:
        """Raise ConfigError (`deadline_too_short`) for a job that will not end in time, with what would."""
        if self.expected_seconds > TIME_DOUBT * deadline_seconds:
            raise ConfigError(self.too_late(deadline_seconds), code="deadline_too_short", param="budget")

    def too_late(self, deadline_seconds: float) -> str:
        """What the job takes, and what would end in time."""
        fitting, expected = self.rounds_in_time(deadline_seconds), self.expected_seconds
        text = f"The job takes about {expected:,.0f} s at this speed, {self.round_seconds:,.2f} s a step; "
        text += f"`max_runtime_seconds` leaves {deadline_seconds:,.0f} s. "
        if fitting > 0:
            text += f"In time would end: {fitting} steps, "
            text += f"or `train_seconds` of {math.ceil(fitting * self.round_seconds)}. "
        return text + f"Or take a smaller student, or a deadline of {expected / TIME_SHARE:,.0f} s."


def size_text(number: int) -> str:
    """Bytes for people."""
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"
