"""All settings of a distillation, as frozen dataclasses.

The service makes its JSON Schemas from these classes, so each setting is defined once. A field of
`MethodConfig` or `TrainingConfig` that is None has the method's own value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from dfad_core.contract.bounds import Range, check_ranges
from dfad_core.contract.errors import ConfigError

MIN_IMAGE_SIDE = 8
MAX_IMAGE_SIDE = 512
MAX_CHANNELS = 4
MIN_SLICE = 2
"""Least number of images in a slice of a batch: batch norm needs a variance."""
MAX_POOL_BYTES = 4 * 2**30
"""Largest size of the pool, which is held in the device's memory and written to every checkpoint."""


@dataclass(frozen=True)
class InputConfig:
    """Shape and normalisation of the inputs of teacher and student."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    shape: tuple[int, int, int]
    """Channels, height, width."""
    mean: tuple[float, ...] | None = None
    """Per-channel mean that the teacher's preprocessing subtracts. None: unknown; the range of pixels is then
    read from the network or estimated."""
    std: tuple[float, ...] | None = None
    """Per-channel standard deviation that the teacher's preprocessing divides by. None: unknown."""

    def __post_init__(self) -> None:
        channels, height, width = self.shape
        if not 1 <= channels <= MAX_CHANNELS:
            raise ConfigError(f"channels must be 1 to {MAX_CHANNELS}", param="shape")
        if not all(MIN_IMAGE_SIDE <= side <= MAX_IMAGE_SIDE for side in (height, width)):
            raise ConfigError(f"height and width must be {MIN_IMAGE_SIDE} to {MAX_IMAGE_SIDE}", param="shape")
        for name in ("mean", "std"):
            value = getattr(self, name)
            if value is None:
                continue
            if len(value) != channels:
                raise ConfigError(f"{name} needs one value for each channel", param=name)
            if not all(abs(v) < 1e4 for v in value):
                raise ConfigError(f"{name} must be finite and small", param=name)
        if self.std is not None and not all(v > 1e-6 for v in self.std):
            raise ConfigError("std must be positive", param="std")

    @classmethod
    def from_json(cls, data: Any) -> InputConfig:
        """Build it from a JSON object with `shape`, and `mean` and `std` where they are known.

        Other entries are ignored: a later version may write more. Raises ConfigError, whose `param` is the
        entry at fault.
        """
        if not isinstance(data, Mapping):
            raise ConfigError("must be an object with a `shape`", param="input")
        shape = data.get("shape")
        if not isinstance(shape, list | tuple) or len(shape) != 3 or any(type(n) is not int for n in shape):
            raise ConfigError("must be three whole numbers: channels, height, width", param="shape")
        return cls(tuple(shape), _numbers(data, "mean"), _numbers(data, "std"))


def _numbers(data: Mapping[str, Any], name: str) -> tuple[float, ...] | None:
    """The list of numbers `data[name]`; None where there is none. Raises ConfigError."""
    values = data.get(name)
    if values is None:
        return None
    if not isinstance(values, list | tuple) or any(type(v) not in (int, float) for v in values):
        raise ConfigError("must be a list of numbers", param=name)
    try:
        return tuple(float(v) for v in values)
    except OverflowError as error:
        raise ConfigError("must be finite and small", param=name) from error


@dataclass(frozen=True)
class MethodConfig:
    """The method, and the weights of its terms. None: the method's own value."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str = "best"
    """A method of `dfad_core.contract.methods.METHODS`."""
    activation_weight: Annotated[float, Range(ge=0, le=1000)] | None = None
    """Weight of the activation regularizer (Heo et al. 2019, margin form) on the student."""
    activation_margin: Annotated[float, Range(gt=0, le=100)] = 1.0
    """Margin m of the activation regularizer; 1 as in Heo et al."""
    activation_decay: Annotated[float, Range(ge=0, le=1)] | None = None
    """Share of the budget, at the start, in which the regularizer's weight falls to 0; 0: it stays."""
    mixed_share: Annotated[float, Range(ge=0, le=1)] | None = None
    """Share of the student's images that are mixtures of two, labelled by the teacher again; for methods that
    train on single images."""
    interpolation_weight: Annotated[float, Range(ge=0, le=1000)] | None = None
    """Weight of the virtual-interpolation term on the student."""
    interpolation_concentration: Annotated[float, Range(gt=0, le=100)] | None = None
    """a of the mixing share lambda ~ Beta(a, a)."""
    interpolation_labels: Literal["interpolated", "requeried"] | None = None
    """Labels of virtual samples: the teacher's logits of the two images, mixed (`interpolated`), or of the
    mixture itself (`requeried`)."""
    bn_weight: Annotated[float, Range(ge=0, le=1000)] | None = None
    """Weight of the BN-statistics term on the generator; ignored where the teacher has no BN."""
    one_hot_weight: Annotated[float, Range(ge=0, le=1000)] | None = None
    """Weight of CE(t, argmax t) on the generator (DAFL's one-hot term)."""
    class_entropy_weight: Annotated[float, Range(ge=0, le=1000)] | None = None
    """Weight of the negative entropy of the batch's mean class distribution on the generator."""
    adversarial_weight: Annotated[float, Range(ge=0, le=1000)] | None = None
    """Weight of the gap between student and teacher that the generator maximises; 0: no adversarial
    training."""
    imitation: Literal["l1", "squared", "kl"] | None = None
    """The gap that the student minimises: mean absolute or mean squared difference of logits, or
    Kullback-Leibler divergence."""
    temperature: Annotated[float, Range(gt=0, le=100)] | None = None
    """Temperature of the student's Kullback-Leibler divergence."""
    level_set_batches: Annotated[int, Range(ge=0, le=64)] | None = None
    """Extra batches of procedural images (level sets of smooth random fields) in each round."""
    start_from_teacher: bool | None = None
    """Begin with those of the teacher's tensors that have the name and shape of one of the student's, where
    these are half of the student's or more: networks of one family and width. Initial weights that the job
    gives are used instead."""
    student_average: Annotated[float, Range(ge=0, lt=1)] | None = None
    """Decay of the running average of the student's weights, which is the result; 0: the weights themselves
    are."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class BudgetConfig:
    """How long to train."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    steps: Annotated[int, Range(ge=1, le=10_000_000)] = 2000
    """Rounds of training: `student_steps` updates of the student each. An update of the generator, or new
    images, belong to each round or, for `collages`, to one of ten."""
    train_seconds: Annotated[float, Range(gt=0, le=2_592_000)] | None = None
    """If set, training ends after this many seconds instead, schedules follow the clock, and
    `steps` is only an upper bound. Such a run is not repeatable to the bit."""
    max_runtime_seconds: Annotated[float, Range(gt=0, le=2_592_000)] = 86_400
    """Deadline of the whole job; past it the job fails and its partial student is kept."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class TrainingConfig:
    """Batch, pool, optimizers and precision. None: the method's own value."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    batch_size: Annotated[int, Range(ge=2, le=8192)] = 128
    """Number of images in a batch, for the generator and the student."""
    accumulation: Annotated[int, Range(ge=0, le=256)] = 0
    """Number of slices of a batch, for batches larger than the memory; each slice has at least two images. An
    update uses the mean of the slices' gradients; BN layers and terms on a batch see one slice at a time, and
    a search fits each slice by itself. 0: as few as fit the memory, of 32 images or more where these fit; the
    event `batch_sliced` says how many. The student depends on the number: set it for a run that is to be
    repeated on another machine."""
    student_steps: Annotated[int, Range(ge=1, le=100)] | None = None
    """Student updates in each round. With a pool of labelled images one costs a fraction of a generator
    update, so most methods make many; their numbers are in the catalogue."""
    pool_batches: Annotated[int, Range(ge=0, le=4096)] | None = None
    """Batches of past rounds that the student trains on again; 0: every student update has a new batch."""
    inner_steps: Annotated[int, Range(ge=1, le=10_000)] | None = None
    """Gradient steps on each batch, in methods that fit every batch anew (pixels, or generator and z)."""
    student_optimizer: Literal["sgd", "adam"] | None = None
    """None: the method's own, which is Adam for students without batch norm."""
    student_learning_rate: Annotated[float, Range(gt=0, le=10)] | None = None
    """Peak learning rate of the student; None: the method's own, or the default of an optimizer that the job
    sets."""
    generator_learning_rate: Annotated[float, Range(gt=0, le=10)] | None = None
    """Adam's learning rate for a generator that is trained over all rounds; None: the method's own, mostly
    1e-3."""
    weight_decay: Annotated[float, Range(ge=0, le=1)] | None = None
    """Weight decay of the student's kernels and matrices; biases and norm layers have none. Decoupled from
    Adam's moments. None: the method's own, mostly 5e-4."""
    latent_dim: Annotated[int, Range(ge=1, le=4096)] = 100
    """Length of the generator's noise vector z ~ N(0, I)."""
    generator_width: Annotated[int, Range(ge=4, le=512)] = 32
    """Number of channels of the generator's last hidden layer."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto`: bfloat16 autocast where the processor or GPU computes in it, else float32."""
    cuda_graphs: bool = False
    """On CUDA, record the updates of student and generator as CUDA graphs after a few rounds and replay them,
    which saves Python's time where networks are small. For one process, whole batches and methods without
    searches."""
    threads: Annotated[int, Range(ge=0, le=1024)] = 0
    """Number of CPU threads. 0: all that this process may use, or a single one where that is faster, as on a
    machine with another busy program; the result has the number."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.accumulation > self.batch_size // MIN_SLICE:
            raise ConfigError(
                f"a batch of {self.batch_size} has at most {self.batch_size // MIN_SLICE} slices of "
                f"{MIN_SLICE} images or more, not {self.accumulation}",
                param="accumulation",
            )


@dataclass(frozen=True)
class DistillConfig:
    """All settings of `dfad_core.distill`."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    input: InputConfig
    num_classes: Annotated[int, Range(ge=2, le=100_000)] = 10
    method: MethodConfig = field(default_factory=MethodConfig)
    budget: BudgetConfig = field(default_factory=BudgetConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: Annotated[int, Range(ge=0, le=2**63 - 1)] = 0
    progress_seconds: Annotated[float, Range(ge=0, le=3600)] = 1.0
    """Least time between two progress reports; 0: one after every round."""
    sample_seconds: Annotated[float, Range(gt=0, le=86_400)] = 10.0
    """Least time between two pictures of samples."""
    checkpoint_seconds: Annotated[float, Range(gt=0, le=86_400)] = 60.0
    """Time between two checkpoints; longer where writing one takes over 2 % of it."""

    def __post_init__(self) -> None:
        check_ranges(self)
        batches, most = self.training.pool_batches, self.max_pool_batches
        if batches is not None and batches > most:
            size = batches * self.pool_batch_bytes / 2**30
            raise ConfigError(
                f"a pool of {batches} batches takes {size:.1f} GiB at this image and batch size; "
                f"{most} batches fit the limit of {MAX_POOL_BYTES / 2**30:g} GiB",
                param="pool_batches",
            )

    @property
    def pool_batch_bytes(self) -> int:
        """Size of the images of one batch in the pool, in the precision of the training."""
        value_bytes = 4 if self.training.precision == "float32" else 2
        return self.training.batch_size * math.prod(self.input.shape) * value_bytes

    @property
    def max_pool_batches(self) -> int:
        """Largest number of batches within `MAX_POOL_BYTES`."""
        return MAX_POOL_BYTES // self.pool_batch_bytes


@dataclass(frozen=True)
class TargetConfig:
    """Limits on a student's cost, in place of its architecture. None: no limit."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    max_parameters: Annotated[int, Range(ge=1)] | None = None
    """Largest number of parameters."""
    max_macs: Annotated[int, Range(ge=1)] | None = None
    """Largest number of multiply-accumulates for one input."""
    max_bytes: Annotated[int, Range(ge=1)] | None = None
    """Largest size of all its tensors in float32."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.max_parameters is None and self.max_macs is None and self.max_bytes is None:
            raise ConfigError("a target needs at least one limit")

    def allows(self, parameters: int, macs: int, size: int) -> bool:
        """Whether a network of this cost is within the limits."""
        limits = ((parameters, self.max_parameters), (macs, self.max_macs), (size, self.max_bytes))
        return all(limit is None or value <= limit for value, limit in limits)
