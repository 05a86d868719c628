# Made from dfad_core/contract by `python tools/client_answers.py`: change that, and run it.
"""Results and inspections as the service writes them. Those of earlier versions may lack entries."""

from __future__ import annotations

from typing import Any, TypedDict

Setting = bool | int | float | str | None
"""One JSON value that is neither a list nor an object."""


class InputConfig(TypedDict, total=False):
    """Shape and normalisation of the inputs of teacher and student."""

    shape: list[int]
    """Channels, height, width."""
    mean: list[float] | None
    """Per-channel mean that the teacher's preprocessing subtracts. None: unknown; the range of pixels is then
    read from the network or estimated."""
    std: list[float] | None
    """Per-channel standard deviation that the teacher's preprocessing divides by. None: unknown."""


class PassMemory(TypedDict, total=False):
    """Memory of one network for one image."""

    gradient_bytes: int
    """Kept by a pass until the gradient of weights and image is computed."""
    largest_bytes: int
    """The largest of the tensors that are kept."""


class NoiseAnswers(TypedDict, total=False):
    """How the teacher classifies standard normal noise."""

    confidence: float
    """Mean of its largest probability, 1/classes to 1."""
    classes: int
    """Number of different classes among its answers."""
    of: int
    """Largest possible number: that of the classes or of the images, whichever is smaller."""


class PassTimes(TypedDict, total=False):
    """Times of one batch on the machine that inspected the teacher."""

    images: int
    """Size of the batch."""
    threads: int
    """Number of CPU threads."""
    forward_milliseconds: float
    """One forward pass of the batch."""
    backward_milliseconds: float
    """One backward pass to the inputs."""
    one_image_milliseconds: float | None
    """One forward pass of a single image; None where an earlier version has inspected the teacher."""


class MethodAdvice(TypedDict, total=False):
    """Whether a method suits the teacher."""

    name: str
    """A method of the catalogue."""
    suits: bool
    """False: the method cannot work with this teacher."""
    reason: str
    """One sentence."""


class Offer(TypedDict, total=False):
    """A student for the teacher, with its cost."""

    architecture: str
    """Name in the catalogue."""
    args: dict[str, Any]
    """Arguments of the architecture."""
    parameters: int
    """Number of parameters."""
    bytes: int
    """Of all its tensors, buffers included."""
    macs: int
    """Multiply-accumulates for one input."""
    compression: float
    """The teacher's parameters divided by the student's."""
    memory: PassMemory | None
    """Memory of a training pass; None where an earlier version has offered it."""
    one_image_milliseconds: float | None
    """One forward pass of a single image where the teacher was inspected; None where it was not timed."""


class Inspection(TypedDict, total=False):
    """Report on an uploaded teacher."""

    architecture: str
    """Name in the catalogue, or `onnx` and the like for a network that is not in it."""
    args: dict[str, Any]
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
    norms: dict[str, int]
    """Number of normalisation layers of each kind."""
    bn_statistics: bool
    """Whether the network has batch-norm statistics, or its biases tell them: then batch norm was folded into
    its convolutions, and a note says so."""
    gradient: bool
    """Whether the gradient at the input is finite and not zero; otherwise no generator can learn."""
    decided: NoiseAnswers | None
    """How it classifies noise."""
    timing: PassTimes | None
    """How long its passes take."""
    memory: PassMemory | None
    """Memory of its passes in float32; None where an earlier version has inspected it."""
    methods: list[MethodAdvice]
    """Each method of the catalogue."""
    students: list[Offer] | None
    """Students of several sizes; absent where a job inspects its teacher, since it has its student."""
    notes: list[str]
    """What the reader of the file assumed, a sentence each."""
    input_assumed: bool
    """Whether neither the file nor the caller names the size of the images; a note says so."""
    class_names: list[str] | None
    """One for each class; absent where the file has none, and for more than MAX_NAMED classes."""


class NetworkFigures(TypedDict, total=False):
    """Size and speed of one network."""

    architecture: str
    """Name in the catalogue, or `onnx` and the like for a network that is not in it."""
    parameters: int
    """Number of parameters."""
    bytes: int
    """Of all its tensors, buffers included."""
    macs: int
    """Multiply-accumulates for one input."""
    latency_milliseconds: dict[str, float] | None
    """Median time of a forward pass by batch size, on the device of the training; None: not measured."""


class Evaluation(TypedDict, total=False):
    """How much of the judge's images was answered, and in what time."""

    images: int
    """Planned number of plain drawings."""
    measured: dict[str, int]
    """Number of images of each source that were answered."""
    seconds: float
    """Time of the evaluation."""
    bound_seconds: float
    """Time after which the evaluation is cut off."""
    complete: bool
    """Whether all that was planned was measured."""


class AccuracyPrediction(TypedDict, total=False):
    """Accuracy relative to the teacher's, 0 to 1, predicted without data from answers to drawn images.

    `python -m benchmarks.fidelity_calibration` compares predictions with the truth."""

    relative_accuracy: float | None
    """The student's accuracy divided by the teacher's; None where nothing is predicted."""
    low: float | None
    """Lower end of the interval."""
    high: float | None
    """Upper end of the interval."""
    level: float
    """Share of jobs that should lie in their interval."""
    coverage: float
    """Share of the calibration's jobs that lay in theirs, each with its teacher left out."""
    jobs: int
    """Number of jobs of known accuracy behind the prediction."""
    teachers: int
    """Number of their teachers."""
    images: int
    """Number of drawn images that both networks were shown."""
    reason: str | None
    """Why nothing is predicted, in a sentence or two; None where something is."""


class Accuracy(TypedDict, total=False):
    """Share of right answers on labelled data of the user, 0 to 1."""

    teacher: float
    """The teacher's."""
    student: float
    """The student's."""
    images: int
    """Number of labelled images."""
    data: str
    """Name of the data."""
    notes: list[str]
    """What the reader of the data assumed, a sentence each."""
    exports: dict[str, float]
    """Each export's, by format; measured for a job that has ended, and empty otherwise."""


class ReportedAccuracy(TypedDict, total=False):
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


class ExportResult(TypedDict, total=False):
    """One exported format: what was checked of its file, or why there is none."""

    bytes: int | None
    """Size of the file."""
    opset: int | None
    """ONNX operator set."""
    tolerance: float | None
    """Largest allowed difference of logits, relative to the largest logit."""
    max_difference: float | None
    """Largest difference of a logit from the PyTorch student's."""
    agreement_with_student: float | None
    """Share of images with the same class as the PyTorch student, 0 to 1."""
    images: int | None
    """Number of images of the check: the judge's, where it has seen the student."""
    prediction: AccuracyPrediction | None
    """Predicted accuracy of this file, from the same images as the student's; int8 only."""
    calibration_images: int | None
    """Number of images that set the ranges of activations; int8 only."""
    latency_milliseconds: dict[str, float] | None
    """Median times of a pass in ONNX Runtime on the processor, by batch size; int8 only."""
    float_latency_milliseconds: dict[str, float] | None
    """The same of the ONNX file in float that it was made from; int8 only."""
    caution: str | None
    """What speaks against this file, in sentences: it answers otherwise than the student, or is slower."""
    error: str | None
    """Why the format is not offered."""


class NetworkCost(TypedDict, total=False):
    """Cost of one network for one input."""

    parameters: int
    """Number of parameters."""
    bytes: int
    """Of all its tensors, buffers included."""
    macs: int
    """Multiply-accumulates of convolutions, matrix products and attention."""


class ChosenStudent(TypedDict, total=False):
    """The student that was derived from a target."""

    architecture: str
    """Name in the catalogue."""
    args: dict[str, Any]
    """Arguments of the architecture."""
    cost: NetworkCost
    """Its cost."""


class InitialWeightsMatch(TypedDict, total=False):
    """Which tensors of the initial weights fitted the student."""

    taken: int
    """Number of tensors that were copied."""
    of: int
    """Number of tensors of the student."""
    missing: list[str]
    """Tensors of the student that the file does not have; the first of them."""
    other_shape: list[str]
    """Tensors of the file with another shape; the first of them."""
    unknown: list[str]
    """Tensors of the file that the student does not have; the first of them."""


class Training(TypedDict, total=False):
    """How the student was trained."""

    method: str
    """Name of the method."""
    weights: dict[str, Setting]
    """The method with every weight and switch filled in."""
    steps: int
    """Finished rounds."""
    seconds: float
    """Training time, interrupted runs included."""
    device: str
    """`cpu` or `cuda:N`."""
    precision: str
    """`float32` or `bfloat16`."""
    threads: int | None
    """Number of CPU threads at the end."""
    threads_changed: bool
    """Whether the number changed between two rounds: such a run is not repeatable to the bit."""
    seed: int
    """Seed of every random stream."""
    complete: bool
    """False: training was stopped or diverged, and the student is partial."""


class Resources(TypedDict, total=False):
    """What the run used."""

    peak_memory_bytes: int | None
    """Largest resident memory of the process."""
    gpu_peak_memory_bytes: int | None
    """Largest memory that was allocated on the GPU; None without one."""
    teacher_queries: float | None
    """Number of images that the teacher classified."""


class JobResult(TypedDict, total=False):
    """The result of a job. What was not measured is None or empty."""

    teacher: NetworkFigures
    """The teacher."""
    student: NetworkFigures
    """The student."""
    compression: float
    """The teacher's parameters divided by the student's."""
    training: Training
    """How the student was trained."""
    fidelity: dict[str, float | None]
    """How the student answers to drawn images, compared with the teacher, by figure and source: what the
    prediction is made from."""
    prediction: AccuracyPrediction | None
    """Predicted accuracy, or why there is none; None by an earlier version."""
    evaluation: Evaluation | None
    """How `fidelity` was measured; None where training was stopped."""
    accuracy: Accuracy | None
    """On labelled data that came with the job, or the latest that came after its end; None without any."""
    evaluations: list[ReportedAccuracy] | None
    """Accuracy that users reported after the job."""
    class_histogram: list[int] | None
    """Number of synthetic images that the teacher assigns to each class."""
    class_names: list[str] | None
    """One for each class; absent where the teacher's file has none, and for more than MAX_NAMED classes."""
    usable: bool | None
    """False where the teacher gives nearly all synthetic images the same class, so that nothing can
    be predicted. None where that was not measured."""
    unusable_reason: str | None
    """Why the student is not usable, in a sentence; None otherwise."""
    exports: dict[str, ExportResult]
    """Formats besides safetensors."""
    student_chosen: ChosenStudent | None
    """The student of a job that named a target."""
    student_init: InitialWeightsMatch | None
    """Which initial weights fitted, of a job that named some."""
    resources: Resources | None
    """What the run used."""
    events: list[dict[str, Setting]]
    """Notes and warnings of the training: `kind`, `step`, and figures of their own."""
    versions: dict[str, str]
    """Version of the engine, PyTorch and Python."""


class OutputFile(TypedDict, total=False):
    """One file of a job."""

    kind: str
    """`student`, `student_onnx` and the like, `report` or `samples`."""
    filename: str
    media_type: str
    content: bytes
