"""`export`: a student's file in another format, compared with the original before it is written."""

from __future__ import annotations

import argparse

from dfad_core.cli.lines import Lines
from dfad_core.contract.errors import ConfigError, ExportError
from dfad_core.contract.formats import EXPORTS, FORMATS
from dfad_core.evaluation.held_out import held_out_images
from dfad_core.formats.export import export
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.safetensors import load_student


def run(arguments: argparse.Namespace, lines: Lines) -> int:
    """Raises ConfigError for an unknown format, TeacherRejected for a file that is no student, ExportError
    where the format cannot be had.

    Eight bits are calibrated on drawn images: the generator that the student learned from is gone.
    """
    if arguments.to not in EXPORTS:
        raise ConfigError(f"unknown format {arguments.to!r} (known: {', '.join(EXPORTS)})", param="to")
    output = arguments.output or arguments.student.with_name(
        arguments.student.stem + FORMATS[arguments.to].suffix
    )
    student = load_student(arguments.student)
    metadata = student.dfad_metadata
    assert isinstance(metadata, StudentMetadata)
    images_BCHW = held_out_images(metadata.input.shape, 0, None, 0)
    faults: list[str] = []
    exports = export(
        [arguments.to],
        student,
        metadata,
        images_BCHW[::2],
        images_BCHW[1::2],
        failed=lambda _name, why: faults.append(why),
    )
    if not exports:
        raise ExportError(faults[0], param=arguments.to)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(exports[0].content)
    size = len(exports[0].content)
    data = {"path": str(output), "format": arguments.to, "bytes": size, **exports[0].figures}
    lines.write("result", data)
    return 0
