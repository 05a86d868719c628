"""The result of a job: both networks, what was measured of the student, and how it was trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from dfad_core.contract.serialization import ABSENT, Document, Setting


@dataclass(frozen=True)
class JobError:
    """Why a job failed, or a teacher was rejected."""

    code: str
    """Stable name of the reason, in snake case."""
    message: str
    """A sentence or two."""
    param: str | None = field(default=None, metadata=ABSENT)
    """The setting or tensor at fault."""


@dataclass(frozen=True)
class NetworkFigures:
    """Size and speed of one network."""

    architecture: str
    """Name in the catalogue, or `onnx` and the like for a network that is not in it."""
    parameters: int
    """Number of parameters."""
    bytes: int
    """Of all its tensors, buffers included."""
    macs: int
    """Multiply-accumulates for one input."""
    latency_milliseconds: Mapping[str, float] | None = None
    """Median time of a forward pass by batch size, on the device of the training; None: not measured."""


@dataclass(frozen=True)
class Evaluation:
    """How much of the judge's images was answered, and in what time."""

    images: int
    """Planned number of plain drawings."""
    measured: Mapping[str, int]
    """Number of images of each source that were answered."""
    seconds: float
    """Time of the evaluation."""
    bound_seconds: float
    """Time after which the evaluation is cut off."""
    complete: bool
    """Whether all that was planned was measured."""


@dataclass(frozen=True)
class AccuracyPrediction:
    """Accuracy relative to the teacher's, 0 to 1, predicted without data from answers to drawn images.

    `python -m benchmarks.fidelity_calibration` compares predictions with the truth.
    """

    relative_accuracy: float | None = None
    """The student's accuracy divided by the teacher's; None where nothing is predicted."""
    low: float | None = None
    """Lower end of the interval."""
    high: float | None = None
    """Upper end of the interval."""
    level: float = 0.0
    """Share of jobs that should lie in their interval."""
    coverage: float = 0.0
    """Share of the calibration's jobs that lay in theirs, each with its teacher left out."""
    jobs: int = 0
    """Number of jobs of known accuracy behind the prediction."""
    teachers: int = 0
    """Number of their teachers."""
    images: int = 0
    """Number of drawn images that both networks were shown."""
    reason: str | None = None
    """Why nothing is predicted, in a sentence or two; None where something is."""


@dataclass(frozen=True)
class Accuracy:
    """Share of right answers on labelled data of the user, 0 to 1."""

    teacher: float
    """The teacher's."""
    student: float
    """The student's."""
    images: int
    """Number of labelled images."""
    data: str
    """Name of the data."""
    notes: tuple[str, ...] = ()
    """What the reader of the data assumed, a sentence each."""
    exports: Mapping[str, float] = field(default_factory=dict)
    """Each export's, by format; measured for a job that has ended, and empty otherwise."""


@dataclass(frozen=True)
class ReportedAccuracy:
    """Accuracy that a user measured elsewhere, on data that the service does not have; 0 to 1."""

    data: str
    """Name of the data, in the user's words."""
    images: int | None
    """Number of images, where the user gave it."""
    teacher: float | None
    """The teacher's, where the user gave it."""
    student: float
    """The student's."""
    at: str
    """When it was reported, RFC 3339."""


@dataclass(frozen=True)
class ExportResult:
    """One exported format: what was checked of its file, or why there is none."""

    bytes: int | None = field(default=None, metadata=ABSENT)
    """Size of the file."""
    opset: int | None = field(default=None, metadata=ABSENT)
    """ONNX operator set."""
    tolerance: float | None = field(default=None, metadata=ABSENT)
    """Largest allowed difference of logits, relative to the largest logit."""
    max_difference: float | None = field(default=None, metadata=ABSENT)
    """Largest difference of a logit from the PyTorch student's."""
    agreement_with_student: float | None = field(default=None, metadata=ABSENT)
    """Share of images with the same class as the PyTorch student, 0 to 1."""
    images: int | None = field(default=None, metadata=ABSENT)
    """Number of images of the check: the judge's, where it has seen the student."""
    prediction: AccuracyPrediction | None = field(default=None, metadata=ABSENT)
    """Predicted accuracy of this file, from the same images as the student's; int8 only."""
    calibration_images: int | None = field(default=None, metadata=ABSENT)
    """Number of images that set the ranges of activations; int8 only."""
    latency_milliseconds: Mapping[str, float] | None = field(default=None, metadata=ABSENT)
    """Median times of a pass in ONNX Runtime on the processor, by batch size; int8 only."""
    float_latency_milliseconds: Mapping[str, float] | None = field(default=None, metadata=ABSENT)
    """The same of the ONNX file in float that it was made from; int8 only."""
    caution: str | None = field(default=None, metadata=ABSENT)
    """What speaks against this file, in sentences: it answers otherwise than the student, or is slower."""
    error: str | None = field(default=None, metadata=ABSENT)
    """Why the format is not offered."""


@dataclass(frozen=True)
class NetworkCost:
    """Cost of one network for one input."""

    parameters: int
    """Number of parameters."""
    bytes: int
    """Of all its tensors, buffers included."""
    macs: int
    """Multiply-accumulates of convolutions, matrix products and attention."""


@dataclass(frozen=True)
class ChosenStudent:
    """The student that was derived from a target."""

    architecture: str
    """Name in the catalogue."""
    args: Mapping[str, object]
    """Arguments of the architecture."""
    cost: NetworkCost
    """Its cost."""


@dataclass(frozen=True)
class InitialWeightsMatch:
    """Which tensors of the initial weights fitted the student."""

    taken: int
    """Number of tensors that were copied."""
    of: int
    """Number of tensors of the student."""
    missing: tuple[str, ...] = ()
    """Tensors of the student that the file does not have; the first of them."""
    other_shape: tuple[str, ...] = ()
    """Tensors of the file with another shape; the first of them."""
    unknown: tuple[str, ...] = ()
    """Tensors of the file that the student does not have; the first of them."""


@dataclass(frozen=True)
class Training:
    """How the student was trained."""

    method: str
    """Name of the method."""
    weights: Mapping[str, Setting]
    """The method with every weight and switch filled in."""
    steps: int
    """Finished rounds."""
    seconds: float
    """Training time, interrupted runs included."""
    device: str
    """`cpu` or `cuda:N`."""
    precision: str
    """`float32` or `bfloat16`."""
    threads: int | None = None
    """Number of CPU threads at the end."""
    threads_changed: bool = False
    """Whether the number changed between two rounds: such a run is not repeatable to the bit."""
    seed: int = 0
    """Seed of every random stream."""
    complete: bool = False
    """False: training was stopped or diverged, and the student is partial."""


@dataclass(frozen=True)
class Resources:
    """What the run used."""

    peak_memory_bytes: int | None = None
    """Largest resident memory of the process."""
    gpu_peak_memory_bytes: int | None = None
    """Largest memory that was allocated on the GPU; None without one."""
    teacher_queries: float | None = None
    """Number of images that the teacher classified."""


@dataclass(frozen=True)
class JobResult(Document):
    """The result of a job. What was not measured is None or empty."""

    teacher: NetworkFigures
    """The teacher."""
    student: NetworkFigures
    """The student."""
    compression: float
    """The teacher's parameters divided by the student's."""
    training: Training
    """How the student was trained."""
    fidelity: Mapping[str, float | None] = field(default_factory=dict)
    """How the student answers to drawn images, compared with the teacher, by figure and source: what the
    prediction is made from."""
    prediction: AccuracyPrediction | None = None
    """Predicted accuracy, or why there is none; None by an earlier version."""
    evaluation: Evaluation | None = None
    """How `fidelity` was measured; None where training was stopped."""
    accuracy: Accuracy | None = None
    """On labelled data that came with the job, or the latest that came after its end; None without any."""
    evaluations: tuple[ReportedAccuracy, ...] | None = field(default=None, metadata=ABSENT)
    """Accuracy that users reported after the job."""
    class_histogram: tuple[int, ...] | None = None
    """Number of synthetic images that the teacher assigns to each class."""
    class_names: tuple[str, ...] | None = field(default=None, metadata=ABSENT)
    """One for each class; absent where the teacher's file has none, and for more than MAX_NAMED classes."""
    usable: bool | None = None
    """False where the teacher gives nearly all synthetic images the same class, so that nothing can
    be predicted. None where that was not measured."""
    unusable_reason: str | None = None
    """Why the student is not usable, in a sentence; None otherwise."""
    exports: Mapping[str, ExportResult] = field(default_factory=dict)
    """Formats besides safetensors."""
    student_chosen: ChosenStudent | None = field(default=None, metadata=ABSENT)
    """The student of a job that named a target."""
    student_init: InitialWeightsMatch | None = field(default=None, metadata=ABSENT)
    """Which initial weights fitted, of a job that named some."""
    resources: Resources | None = None
    """What the run used."""
    events: tuple[Mapping[str, Setting], ...] = ()
    """Notes and warnings of the training: `kind`, `step`, and figures of their own."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Version of the engine, PyTorch and Python."""


@dataclass(frozen=True)
class OutputFile:
    """One file of a job."""

    kind: str
    """`student`, `student_onnx` and the like, `report` or `samples`."""
    filename: str
    media_type: str
    content: bytes
