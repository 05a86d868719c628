"""Students as `torch.export` programs: they run without this project's classes."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from dfad_core.contract.errors import ExportError
from dfad_core.formats.check import TOLERANCE, require_same
from dfad_core.formats.interface import ExportTask
from dfad_core.formats.metadata import KEY, StudentMetadata
from dfad_core.hooks import signs_of_life

METADATA_FILE = f"{KEY}.json"
EXAMPLE_BATCH = 2
"""With 1 the exporter would fix the size of the batch."""


def write(task: ExportTask) -> tuple[bytes, dict[str, Any]]:
    """The program, loaded again and compared. Raises ExportError for a network that cannot be exported."""
    with signs_of_life(task.between):
        content = _student_bytes(task.student, task.metadata)
        loaded = read_student(content)
    comparison = require_same("pt2", task.student, loaded, task.checked_BCHW, task.between)
    return content, {"tolerance": TOLERANCE, **comparison.figures()}


def read_student(content: bytes) -> Callable[[Tensor], Tensor]:
    """The program as a function from images (B, C, H, W) to logits."""
    program = torch.export.load(io.BytesIO(content)).module()
    return lambda x_BCHW: program(x_BCHW)  # noqa: PLW0108  (as a module it refuses eval mode)


def _student_bytes(module: nn.Module, metadata: StudentMetadata) -> bytes:
    """The file for `torch.export.load`, for any batch size, with the metadata as extra file `dfad.json`.

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
    # The exporter's passes raise errors of any type; the trace is for the log.
    except Exception as error:
        raise ExportError(
            "The student could not be written as a torch.export program.", param="pt2"
        ) from error
    return buffer.getvalue()
