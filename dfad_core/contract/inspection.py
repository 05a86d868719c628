"""The inspection report of a teacher: what the network is, and which methods and students suit it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dfad_core.contract.config import InputConfig
from dfad_core.contract.limits import PassMemory
from dfad_core.contract.serialization import ABSENT, Document

MAX_NAMED = 1000
"""Largest number of classes that are named in a report."""


@dataclass(frozen=True)
class NoiseAnswers:
    """How the teacher classifies standard normal noise."""

    confidence: float
    """Mean of its largest probability, 1/classes to 1."""
    classes: int
    """Number of different classes among its answers."""
    of: int
    """Largest possible number: that of the classes or of the images, whichever is smaller."""


@dataclass(frozen=True)
class PassTimes:
    """Times of one batch on the machine that inspected the teacher."""

    images: int
    """Size of the batch."""
    threads: int
    """Number of CPU threads."""
    forward_milliseconds: float
    """One forward pass of the batch."""
    backward_milliseconds: float
    """One backward pass to the inputs."""
    one_image_milliseconds: float | None = None
    """One forward pass of a single image; None where an earlier version has inspected the teacher."""


@dataclass(frozen=True)
class MethodAdvice:
    """Whether a method suits the teacher."""

    name: str
    """A method of the catalogue."""
    suits: bool
    """False: the method cannot work with this teacher."""
    reason: str
    """One sentence."""


@dataclass(frozen=True)
class Offer:
    """A student for the teacher, with its cost."""

    architecture: str
    """Name in the catalogue."""
    args: Mapping[str, object]
    """Arguments of the architecture."""
    parameters: int
    """Number of parameters."""
    bytes: int
    """Of all its tensors, buffers included."""
    macs: int
    """Multiply-accumulates for one input."""
    compression: float
    """The teacher's parameters divided by the student's."""
    memory: PassMemory | None = None
    """Memory of a training pass; None where an earlier version has offered it."""
    one_image_milliseconds: float | None = None
    """One forward pass of a single image where the teacher was inspected; None where it was not timed."""


@dataclass(frozen=True)
class Inspection(Document):
    """Report on an uploaded teacher."""

    architecture: str
    """Name in the catalogue, or `onnx` and the like for a network that is not in it."""
    args: Mapping[str, object]
    """Arguments of the architecture."""
    num_classes: int
    """Number of logits."""
    input: InputConfig | None
    """Shape and normalisation of its images."""
    format: str
    """Format of the file."""
    parameters: int
    """Number of parameters."""
    bytes: int
    """Of all its tensors, buffers included."""
    macs: int
    """Multiply-accumulates for one input."""
    bn_layers: int
    """Number of batch-norm layers."""
    norms: Mapping[str, int] = field(default_factory=dict)
    """Number of normalisation layers of each kind."""
    bn_statistics: bool = False
    """Whether the network has batch-norm statistics, or its biases tell them: then batch norm was folded into
    its convolutions, and a note says so."""
    gradient: bool = True
    """Whether the gradient at the input is finite and not zero; otherwise no generator can learn."""
    decided: NoiseAnswers | None = None
    """How it classifies noise."""
    timing: PassTimes | None = None
    """How long its passes take."""
    memory: PassMemory | None = None
    """Memory of its passes in float32; None where an earlier version has inspected it."""
    methods: tuple[MethodAdvice, ...] = ()
    """Each method of the catalogue."""
    students: tuple[Offer, ...] | None = field(default=None, metadata=ABSENT)
    """Students of several sizes; absent where a job inspects its teacher, since it has its student."""
    notes: tuple[str, ...] = ()
    """What the reader of the file assumed, a sentence each."""
    input_assumed: bool = False
    """Whether neither the file nor the caller names the size of the images; a note says so."""
    class_names: tuple[str, ...] | None = field(default=None, metadata=ABSENT)
    """One for each class; absent where the file has none, and for more than MAX_NAMED classes."""


def assumed_input(shape: Sequence[int]) -> str:
    """The sentence on images of `shape` (C, H, W) whose size is assumed."""
    size = "x".join(str(side) for side in shape)
    return (
        f"The teacher's file does not tell the size of its images, and {size} is assumed. If it is another, "
        f"name it: --input {size} (`input` of the teacher)."
    )


def names_within(names: Sequence[str]) -> tuple[str, ...] | None:
    """The names of classes as reports carry them: None without any, and where there are too many."""
    return tuple(names) if 0 < len(names) <= MAX_NAMED else None
