"""ONNX: teachers as differentiable networks, checked against onnxruntime, and students.

Students have opset 18, take batches of any size and contain their metadata.

`_BCHW`: batch, channels, height, width; `_NK`: images, classes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import ConfigError, ExportError, MultiLabelRejected, TeacherRejected
from dfad_core.contract.own_network import ANY_BATCH
from dfad_core.formats.check import TOLERANCE, require_same
from dfad_core.formats.class_names import found_in_strings
from dfad_core.formats.interface import ONE_LOGIT, ExportTask, Hints, LoadedTeacher, Source
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.onnx_file import holds_onnx, is_archive
from dfad_core.formats.onnx_parser import OnnxNetwork, read_onnx
from dfad_core.hooks import signs_of_life
from dfad_core.networks.onnx_graph import Built, Graph, build_graph
from dfad_core.networks.onnx_graph.build import SHAPE_ERRORS

ARCHITECTURE = "onnx"
NUM_CHECKED_IMAGES = 2
READING_TOLERANCE, HALF_TOLERANCE = 1e-3, 5e-2
"""Largest difference, as a share of the largest logit; float32 sums depend on the order of summing. The
second is for files that compute in float16."""
PROBABILITY_TOLERANCE = 1e-3
SAME_ALONE = 1e-3
"""Largest difference of an image's logits alone and beside another, as a share of the largest one."""
OTHER_BATCH = (
    "Often x.squeeze() is the reason, which takes the batch away where it is 1: write x.flatten(1), or name "
    "the dimension, and export it again."
)
OPSET = 18
INPUT, OUTPUT = "images", "logits"
EXAMPLE_BATCH = 2
"""With 1 the exporter would fix the size of the batch."""


def recognises(path: Path) -> bool:
    """Whether an archive holds a model; of another file the first bytes tell, and `load` checks the rest.

    Raises TeacherRejected: the codes of `holds_onnx`.
    """
    return not is_archive(path) or holds_onnx(path)


def load(path: Path, hints: Hints) -> LoadedTeacher:
    """The graph as a network. Probabilities become logits again, and one logit z becomes [0, z].

    Raises TeacherRejected: the codes of `read_onnx` and `build_graph`, `input_required` where neither the
    file nor the hints have the size of an image, `multi_label`, `one_logit` where the answer is always yes,
    `squeezed_batch` and `fixed_batch` where one image gives another result than several,
    `conversion_mismatch` where onnxruntime gives other logits.
    """
    hints.refuse_architecture("An ONNX file")
    parsed = read_onnx(path, hints.output)
    shape = _shape(parsed, hints.input)
    try:
        input = hints.input or InputConfig(shape)
    except ConfigError as error:
        text = f"The graph takes images of {_sides(shape)}: {error.message}."
        raise TeacherRejected(text, code="architecture_mismatch", param="input") from error
    built = build_graph(parsed.graph, parsed.tensors, shape)
    if built.one_logit and parsed.ending in ("Softmax", "LogSoftmax"):
        text = f"The graph ends with {parsed.ending} over one logit: its answer is always yes."
        raise TeacherRejected(text, code="one_logit")
    classes = _classes(built.module, shape)
    if parsed.ending == "Sigmoid" and not built.one_logit:
        raise MultiLabelRejected
    notes = [*parsed.notes, *_compare(built, parsed, shape)]
    graph = parsed.graph
    if parsed.ending is None and _gives_probabilities(built, shape):
        graph = dataclasses.replace(graph, probabilities=True)
        built = build_graph(graph, parsed.tensors, shape)
        notes.append("gives probabilities: a student learns from their logits, which are computed from them")
    if built.one_logit:
        notes.append(ONE_LOGIT)
    hints.check_classes("The graph", classes)
    source = Source(graph.to_json(), parsed.tensors)
    names = found_in_strings(parsed.metadata, classes)
    return LoadedTeacher(
        built.module, ARCHITECTURE, {}, classes, input, notes=notes, source=source, class_names=names
    )


def rebuild(document: Any, tensors: Mapping[str, Tensor], shape: tuple[int, int, int]) -> nn.Module:
    """The network of a Source; its document is the graph's JSON text. Raises TeacherRejected."""
    return build_graph(Graph.from_json(document), tensors, shape).module


def _shape(parsed: OnnxNetwork, input: InputConfig | None) -> tuple[int, int, int]:
    """(C, H, W) of the caller's `input`, else of the file; the two must agree where the file has sizes."""
    shape = input.shape if input is not None else parsed.shape
    fixed = parsed.shape
    if any(f is not None and s is not None and f != s for f, s in zip(fixed, shape, strict=True)):
        raise TeacherRejected(
            f"The graph takes images of {_sides(fixed)}, not {_sides(shape)}.",
            code="architecture_mismatch",
            param="input",
        )
    if None in shape:
        raise TeacherRejected(
            f"The graph takes images of {_sides(shape)} and leaves sizes open. Name the size that it was "
            "trained on: --input 3x224x224 (`input` of the teacher).",
            code="input_required",
            param="input",
        )
    channels, height, width = (int(side or 0) for side in shape)
    return channels, height, width


def _sides(shape: Sequence[int | None]) -> str:
    """As in "3x?x?"."""
    return "x".join("?" if side is None else str(side) for side in shape)


@torch.no_grad()
def _classes(module: nn.Module, shape: tuple[int, int, int]) -> int:
    """Number of logits; those of an image must not depend on the others of its batch.

    Raises TeacherRejected: `squeezed_batch`, `fixed_batch`.
    """
    images_BCHW = torch.randn(2, *shape, generator=torch.Generator().manual_seed(2))
    logits = []
    for batch_BCHW in (images_BCHW[:1], images_BCHW[1:], images_BCHW):
        count = len(batch_BCHW)
        try:
            logits.append(module(batch_BCHW))
        except SHAPE_ERRORS:
            logits = []
        if not logits or logits[-1].dim() != 2 or len(logits[-1]) != count:
            text = f"The network does not give {count} rows of logits for {count} images. "
            raise TeacherRejected(text + OTHER_BATCH, code="squeezed_batch")
    alone_BK, together_BK = torch.cat(logits[:2]).float(), logits[2].float()
    within = SAME_ALONE * float(alone_BK.abs().nan_to_num().max())
    if not torch.allclose(alone_BK, together_BK, rtol=0, atol=max(within, SAME_ALONE), equal_nan=True):
        text = f"The graph mixes the images of a batch; {ANY_BATCH}"
        raise TeacherRejected(text, code="fixed_batch")
    return int(together_BK.shape[1])


@torch.no_grad()
def _gives_probabilities(built: Built, shape: tuple[int, int, int]) -> bool:
    """Whether the results are probabilities, as far as random images tell: those of several classes sum to 1.

    Raises TeacherRejected (`multi_label`) for those of several classes that do not.
    """
    stream = torch.Generator().manual_seed(1)
    for count, size in ((2, 1.0), (8, 1.0), (8, 1e3)):
        results_BK = built.module(size * torch.randn(count, *shape, generator=stream))[
            :, int(built.one_logit) :
        ]
        if not bool(((results_BK >= 0) & (results_BK <= 1 + PROBABILITY_TOLERANCE)).all()):
            return False
        if size == 1 and not bool(results_BK.any()):  # zeros alone are no probabilities
            return False
        if not built.one_logit and bool(((results_BK.sum(1) - 1).abs() < PROBABILITY_TOLERANCE).all()):
            continue
        # Of a sigmoid alone large images make zeros and ones; small numbers may be anything.
        if size > 1 and bool(((results_BK < 0.01) | (results_BK > 0.99)).float().mean() < 0.5):
            return False
    if built.one_logit or bool(((results_BK.sum(1) - 1).abs() < PROBABILITY_TOLERANCE).all()):
        return True
    raise MultiLabelRejected


def _images(parsed: OnnxNetwork, shape: tuple[int, int, int]) -> Tensor:
    """Random images of the file's own type (B, C, H, W)."""
    stream = torch.Generator().manual_seed(0)
    if parsed.image_type.is_floating_point:
        return torch.randn(NUM_CHECKED_IMAGES, *shape, generator=stream).to(parsed.image_type)
    most = min(256, torch.iinfo(parsed.image_type).max + 1)
    return torch.randint(0, most, (NUM_CHECKED_IMAGES, *shape), generator=stream).to(parsed.image_type)


def _compare(built: Built, parsed: OnnxNetwork, shape: tuple[int, int, int]) -> list[str]:
    """Compare the network with the file in onnxruntime, on random images; a note if that is not possible.

    Raises TeacherRejected (`conversion_mismatch`) where the two differ by more than READING_TOLERANCE.
    """
    if parsed.quantised:
        return []  # the note on its rounding says it
    try:
        import onnxruntime
    except ImportError:
        return ["not checked against onnxruntime, which is not installed"]
    onnxruntime.disable_telemetry_events()
    x_BCHW = _images(parsed, shape)
    images = {"BCHW": x_BCHW, "BHWC": x_BCHW.permute(0, 2, 3, 1), "BHW": x_BCHW[:, 0]}[parsed.layout]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    file = parsed.file if isinstance(parsed.file, bytes) else str(parsed.file)
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        batch = parsed.graph.batch or 1
        outputs = []
        for image in torch.split(images, 1):
            given = {name: image.repeat(batch, *[1] * (image.dim() - 1)).numpy()}
            outputs.append(torch.from_numpy(session.run([parsed.output], given)[0])[:1])
    except Exception as error:  # noqa: BLE001  (its exceptions have no common base)
        return [f"not checked: onnxruntime does not run the file ({type(error).__name__})"]
    runtime_NK = torch.cat(outputs).float()
    with torch.no_grad():
        module_NK = built.module(x_BCHW.float())
    module_NK = _as_in_the_file(module_NK[:, int(built.one_logit) :], parsed.ending)
    tolerance = READING_TOLERANCE if parsed.image_type != torch.float16 else HALF_TOLERANCE
    if runtime_NK.numel() != module_NK.numel() or bool(
        (runtime_NK.reshape(module_NK.shape) - module_NK).abs().max()
        > tolerance * max(float(runtime_NK.abs().max()), 1e-3)
    ):
        raise TeacherRejected(
            "The converted graph gives other logits than the file in onnxruntime.", code="conversion_mismatch"
        )
    return []


def _as_in_the_file(logits_NK: Tensor, ending: str | None) -> Tensor:
    """The file's own results, from the logits before its `ending`."""
    match ending:
        case "Softmax":
            return torch.softmax(logits_NK, 1)
        case "LogSoftmax":
            return torch.log_softmax(logits_NK, 1)
        case "Sigmoid":
            return torch.sigmoid(logits_NK)
    return logits_NK


def write(task: ExportTask) -> tuple[bytes, dict[str, Any]]:
    """`images` (batch, C, H, W) to `logits` (batch, classes), float32; compared in onnxruntime.

    Raises ExportError for a network that the exporter cannot write.
    """
    with signs_of_life(task.between):
        content = _student_bytes(task.student, task.metadata)
        run = read_student(content)
    comparison = require_same("onnx", task.student, run, task.checked_BCHW, task.between)
    return content, {"opset": OPSET, "tolerance": TOLERANCE, **comparison.figures()}


def read_student(content: bytes) -> Callable[[Tensor], Tensor]:
    """ONNX Runtime over the file's content, on the CPU: images to logits."""
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda x_BCHW: torch.from_numpy(session.run([OUTPUT], {INPUT: x_BCHW.numpy()})[0])


def _student_bytes(module: nn.Module, metadata: StudentMetadata) -> bytes:
    """The file's content: `images` (batch, C, H, W) to `logits` (batch, classes), float32.

    Raises ExportError for a network that the exporter cannot write.
    """
    example = torch.zeros(EXAMPLE_BATCH, *metadata.input.shape)
    batch = torch.export.Dim("batch")
    try:
        with _quiet():
            program = torch.onnx.export(
                module.eval(),
                (example,),
                dynamo=True,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamic_shapes=({0: batch},),
                opset_version=OPSET,
                verbose=False,
            )
        assert program is not None
        model = program.model_proto
    except ModuleNotFoundError:  # an extra is not installed
        raise
    # The exporter's passes raise errors of any type; the trace is for the log.
    except Exception as error:
        raise ExportError("The student could not be written as ONNX.", param="onnx") from error
    _remove_sources(model.graph)
    for name, value in metadata.to_strings().items():
        model.metadata_props.add(key=name, value=value)
    content: bytes = model.SerializeToString()
    return content


def _remove_sources(graph: Any) -> None:
    """Remove the source file and line that the exporter stores for every node."""
    for item in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which warns of packages that it does not need."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
