"""Students as `torch.export` programs: they run without this project's classes."""

from __future__ import annotations

import io

import torch
from torch import nn

from dfad_core.errors import ExportError
from dfad_core.formats.metadata import KEY, StudentMetadata
from dfad_core.formats.onnx import EXAMPLE_BATCH

METADATA_FILE = f"{KEY}.json"


def pt2_bytes(module: nn.Module, metadata: StudentMetadata) -> bytes:
    """What `torch.export.load` reads, for any batch size, with the metadata as extra file `dfad.json`.

    Raises ExportError for a network that cannot be exported.
    """
    example = torch.zeros(EXAMPLE_BATCH, *metadata.input.shape)
    batch = torch.export.Dim("batch")
    buffer = io.BytesIO()
    try:
        program = torch.export.export(module.eval(), (example,), dynamic_shapes=({0: batch},))
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # names files of this machine
        torch.export.save(program, buffer, extra_files={METADATA_FILE: metadata.to_strings()[KEY]})
    # The exporter raises whatever its passes raise; the trace is for the log.
    except Exception as error:
        raise ExportError(
            "The student could not be written as a torch.export program.", param="pt2"
        ) from error
    return buffer.getvalue()
