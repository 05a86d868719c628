"""Students as ONNX: opset 18, any batch size, and what the file says of itself in its metadata."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from dfad_core.errors import ExportError
from dfad_core.formats.metadata import StudentMetadata

OPSET = 18
INPUT, OUTPUT = "images", "logits"
EXAMPLE_BATCH = 2
"""With 1 the exporter would take the batch for fixed."""


def onnx_bytes(module: nn.Module, metadata: StudentMetadata) -> bytes:
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
    except ModuleNotFoundError:  # an extra that is not installed is no fault of the network
        raise
    # The exporter raises whatever its passes raise; the trace is for the log.
    except Exception as error:
        raise ExportError("The student could not be written as ONNX.", param="onnx") from error
    _forget_sources(model.graph)
    for name, value in metadata.to_strings().items():
        model.metadata_props.add(key=name, value=value)
    content: bytes = model.SerializeToString()
    return content


def _forget_sources(graph: Any) -> None:
    """The exporter notes for every node in which file of this machine it was called."""
    for item in (graph, *graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]
        item.doc_string = ""


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter warns of packages that it does not need."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
