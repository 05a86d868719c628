"""Teachers that come as ONNX: the graph as a differentiable network, checked against another reading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.errors import ConfigError, TeacherRejected
from dfad_core.formats.onnx_file import OnnxNetwork, read_onnx
from dfad_core.networks.onnx_graph import Graph, build_graph

ARCHITECTURE = "onnx"
CHECKED_IMAGES = 2
TOLERANCE = 1e-3
"""Of the largest logit: what two orders of summing float32 may differ by in a deep network."""


@dataclass(frozen=True)
class Source:
    """What a network was built from, so that another process can build it again."""

    graph: Graph
    tensors: Mapping[str, Tensor]


def load_onnx(
    path: Path, num_classes: int | None, given: InputConfig | None
) -> tuple[nn.Module, Source, int, InputConfig, list[str]]:
    """The network, its source, its classes, its input and notes.

    Raises TeacherRejected: the codes of `read_onnx` and `build_graph`, `input_required` where the file
    leaves the size of an image open and nobody names it, `conversion_mismatch` where onnxruntime answers
    otherwise than the network.
    """
    network = read_onnx(path)
    shape = _shape(network, given)
    try:
        source_input = given or InputConfig(shape)
    except ConfigError as error:
        raise TeacherRejected(error.message, code="architecture_mismatch", param="input") from error
    module = build_graph(network.graph, network.tensors, shape)
    notes = [*network.notes, *_compare(path, module, network, shape)]
    with torch.no_grad():
        classes = module(torch.zeros(1, *shape)).shape[1]
    if num_classes not in (None, classes):
        raise TeacherRejected(
            f"The graph knows {classes} classes, not {num_classes}.",
            code="architecture_mismatch",
            param="num_classes",
        )
    return module, Source(network.graph, network.tensors), classes, source_input, notes


def _shape(network: OnnxNetwork, given: InputConfig | None) -> tuple[int, int, int]:
    wanted = given.shape if given is not None else network.shape
    said = network.shape
    if any(s is not None and w is not None and s != w for s, w in zip(said, wanted, strict=True)):
        raise TeacherRejected(
            f"The graph takes images of {list(said)}, not {list(wanted)}.",
            code="architecture_mismatch",
            param="input",
        )
    if None in wanted:
        raise TeacherRejected(
            "The graph leaves the size of an image open; name the input's shape.",
            code="input_required",
            param="input",
        )
    channels, height, width = (int(side or 0) for side in wanted)
    return channels, height, width


def _compare(path: Path, module: nn.Module, network: OnnxNetwork, shape: tuple[int, int, int]) -> list[str]:
    """Run the file in onnxruntime beside the network, on random images; a note where it is not installed."""
    try:
        import onnxruntime
    except ImportError:
        return ["not checked against onnxruntime, which is not installed"]
    onnxruntime.disable_telemetry_events()
    images = torch.randn(CHECKED_IMAGES, *shape, generator=torch.Generator().manual_seed(0))
    fed = images.permute(0, 2, 3, 1) if network.graph.input == "channels first" else images
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    batch = network.graph.batch or 1
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        wanted = [
            torch.from_numpy(session.run([network.output], {name: one.repeat(batch, 1, 1, 1).numpy()})[0])[:1]
            for one in torch.split(fed, 1)
        ]
    except Exception as error:  # noqa: BLE001  (its exceptions have no common base)
        return [f"not checked: onnxruntime does not run the file ({type(error).__name__})"]
    with torch.no_grad():
        found = module(images)
    if network.softmax is not None:
        found = torch.softmax(found, 1) if network.softmax == "Softmax" else torch.log_softmax(found, 1)
    answers = torch.cat(wanted).float()
    if answers.shape != found.shape or bool(
        (answers - found).abs().max() > TOLERANCE * max(float(answers.abs().max()), 1e-3)
    ):
        raise TeacherRejected(
            "The graph was read, but answers otherwise than onnxruntime does.", code="conversion_mismatch"
        )
    return []
