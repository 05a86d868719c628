"""`export`: a student's file in another format, compared with the original before it is written."""

from __future__ import annotations

import argparse

from dfad_core.cli.lines import Lines
from dfad_core.errors import ExportError
from dfad_core.evaluation.suite import held_out_images
from dfad_core.formats.export import export
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.safetensors import load_student


def run(given: argparse.Namespace, lines: Lines) -> int:
    """Raises TeacherRejected for what is no student, ExportError where the format cannot be had.

    Eight bits are calibrated on procedural images: the generator that the student learned from is gone.
    """
    student = load_student(given.student)
    metadata = student.dfad_metadata
    assert isinstance(metadata, StudentMetadata)
    faults: list[str] = []
    made = export(
        [given.to],
        student,
        None,
        metadata,
        held_out_images(metadata.input.shape, 0, None, 0),
        failed=lambda _name, why: faults.append(why),
    )
    if not made:
        raise ExportError(faults[0], param=given.to)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_bytes(made[0].content)
    about = {"path": str(given.output), "format": given.to, "bytes": len(made[0].content), **made[0].figures}
    lines.tell("result", about)
    return 0
