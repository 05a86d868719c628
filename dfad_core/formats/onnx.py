"""ONNX: teachers as differentiable networks, checked against onnxruntime, and students.

Students have opset 18, take batches of any size and contain their metadata.

`_BCHW`: batch, channels, height, width; `_NK`: images, classes.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import ConfigError, ExportError, TeacherRejected
from dfad_core.formats.check import TOLERANCE, require_same
from dfad_core.formats.interface import ExportTask, Hints, LoadedTeacher, Source
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.onnx_parser import OnnxNetwork, read_onnx
from dfad_core.hooks import signs_of_life
from dfad_core.networks.onnx_graph import Graph, build_graph

ARCHITECTURE = "onnx"
NUM_CHECKED_IMAGES = 2
READING_TOLERANCE = 1e-3
"""Largest difference, as a share of the largest logit; float32 sums depend on the order of summing."""
OPSET = 18
INPUT, OUTPUT = "images", "logits"
EXAMPLE_BATCH = 2
"""With 1 the exporter would fix the size of the batch."""


def recognises(path: Path) -> bool:  # noqa: ARG001
    """True: the first bytes identify the format, and `load` checks the rest."""
    return True


def load(path: Path, hints: Hints) -> LoadedTeacher:
    """The graph as a network.

    Raises TeacherRejected: the codes of `read_onnx` and `build_graph`, `input_required` where neither the
    file nor the hints have the size of an image, `conversion_mismatch` where onnxruntime gives other logits.
    """
    hints.refuse_architecture("An ONNX file")
    parsed = read_onnx(path)
    shape = _shape(parsed, hints.input)
    try:
        input = hints.input or InputConfig(shape)
    except ConfigError as error:
        raise TeacherRejected(error.message, code="architecture_mismatch", param="input") from error
    module = build_graph(parsed.graph, parsed.tensors, shape)
    notes = [*parsed.notes, *_compare(path, module, parsed, shape)]
    with torch.no_grad():
        classes = module(torch.zeros(1, *shape)).shape[1]
    hints.check_classes("The graph", classes)
    source = Source(parsed.graph.to_json(), parsed.tensors)
    return LoadedTeacher(module, ARCHITECTURE, {}, classes, input, notes=notes, source=source)


def rebuild(document: Any, tensors: Mapping[str, Tensor], shape: tuple[int, int, int]) -> nn.Module:
    """The network of a Source; its document is the graph's JSON text. Raises TeacherRejected."""
    return build_graph(Graph.from_json(document), tensors, shape)


def _shape(parsed: OnnxNetwork, input: InputConfig | None) -> tuple[int, int, int]:
    """(C, H, W) of the caller's `input`, else of the file; the two must agree where the file has sizes."""
    shape = input.shape if input is not None else parsed.shape
    fixed = parsed.shape
    if any(f is not None and s is not None and f != s for f, s in zip(fixed, shape, strict=True)):
        raise TeacherRejected(
            f"The graph takes images of {list(fixed)}, not {list(shape)}.",
            code="architecture_mismatch",
            param="input",
        )
    if None in shape:
        raise TeacherRejected(
            "The graph does not fix the size of an image; name the input's shape.",
            code="input_required",
            param="input",
        )
    channels, height, width = (int(side or 0) for side in shape)
    return channels, height, width


def _compare(path: Path, module: nn.Module, parsed: OnnxNetwork, shape: tuple[int, int, int]) -> list[str]:
    """Compare the network with the file in onnxruntime, on random images; a note if that is not possible.

    Raises TeacherRejected (`conversion_mismatch`) where the two differ by more than READING_TOLERANCE.
    """
    try:
        import onnxruntime
    except ImportError:
        return ["not checked against onnxruntime, which is not installed"]
    onnxruntime.disable_telemetry_events()
    x_BCHW = torch.randn(NUM_CHECKED_IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    images = x_BCHW.permute(0, 2, 3, 1) if parsed.graph.input == "channels first" else x_BCHW
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    batch = parsed.graph.batch or 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        outputs = [
            torch.from_numpy(session.run([parsed.output], {name: image.repeat(batch, 1, 1, 1).numpy()})[0])[
                :1
            ]
            for image in torch.split(images, 1)
        ]
    except Exception as error:  # noqa: BLE001  (its exceptions have no common base)
        return [f"not checked: onnxruntime does not run the file ({type(error).__name__})"]
    with torch.no_grad():
        module_NK = module(x_BCHW)
    if parsed.softmax is not None:
        softmax = torch.softmax if parsed.softmax == "Softmax" else torch.log_softmax
        module_NK = softmax(module_NK, 1)
    runtime_NK = torch.cat(outputs).float()
    if runtime_NK.shape != module_NK.shape or bool(
        (runtime_NK - module_NK).abs().max() > READING_TOLERANCE * max(float(runtime_NK.abs().max()), 1e-3)
    ):
        raise TeacherRejected(
            "The converted graph gives other logits than the file in onnxruntime.", code="conversion_mismatch"
        )
    return []


def write(task: ExportTask) -> tuple[bytes, dict[str, Any]]:
    """`images` (batch, C, H, W) to `logits` (batch, classes), float32; compared in onnxruntime.

    Raises ExportError for a network that the exporter cannot write.
    """
    with signs_of_life(task.between):
        content = _student_bytes(task.student, task.metadata)
        run = run_onnx(content)
    comparison = require_same("onnx", task.student, run, task.checked_BCHW, task.between)
    return content, {"opset": OPSET, "tolerance": TOLERANCE, **comparison.figures()}


def run_onnx(content: bytes) -> Callable[[Tensor], Tensor]:
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
