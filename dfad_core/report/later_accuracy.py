"""Accuracy of a finished job's files on labelled images that came after its end, and the report with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from dfad_core.contract.formats import DEFAULT
from dfad_core.contract.job_result import Accuracy, JobResult, OutputFile
from dfad_core.evaluation.accuracy import accuracy_over
from dfad_core.evaluation.measure import measured_accuracy
from dfad_core.formats import LoadedTeacher
from dfad_core.formats.interface import writer
from dfad_core.formats.labelled import Labelled
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.formats.safetensors import load_student
from dfad_core.hooks import Between, nothing
from dfad_core.report.job_result import report_file


@dataclass(frozen=True)
class FinishedJob:
    """What a job left behind."""

    result: JobResult
    students: Mapping[str, Path]
    """The student's files by format; safetensors is among them."""
    settings: Mapping[str, Any]
    """The job's resolved spec, for the report."""
    history: Sequence[Mapping[str, float]] = ()
    """Readings of the training: `seconds` and named values."""
    pictures: Sequence[tuple[int, bytes]] = ()
    """Pictures of synthetic images (PNG) with their steps; the last one is of the training's end."""


def measure_later(
    teacher: LoadedTeacher, labelled: Labelled, job: FinishedJob, between: Between = nothing
) -> tuple[JobResult, OutputFile]:
    """The job's result with the accuracy of teacher, student and every export, and the report made again.

    All on the CPU, and on the same images. `between` is called after each batch and may raise Stopped.
    Raises TeacherRejected for a student's file that cannot be read.
    """
    student = load_student(job.students[DEFAULT])
    metadata = student.dfad_metadata
    assert isinstance(metadata, StudentMetadata)
    accuracy = _accuracy(teacher, student, labelled, job.students, between)
    result = dataclasses.replace(job.result, accuracy=accuracy)
    report = report_file(
        result,
        metadata,
        history=job.history,
        samples_png=job.pictures[-1][1] if job.pictures else None,
        earlier_png=job.pictures[:-1],
        settings=job.settings,
    )
    return result, report


def _accuracy(
    teacher: LoadedTeacher, student: nn.Module, labelled: Labelled, students: Mapping[str, Path],
    between: Between,
) -> Accuracy:  # fmt: skip
    shares = [accuracy_over(module, labelled.batches(), between) for module in (teacher.module, student)]
    accuracy = measured_accuracy(shares[0], shares[1], labelled, teacher.num_classes)
    exports, notes = {}, list(accuracy.notes)
    for name, path in students.items():
        if name == DEFAULT:
            continue
        try:
            run = writer(name).read_student(path.read_bytes())
        except ModuleNotFoundError as error:
            notes.append(f"The accuracy as {name} was not measured: {error.name} is missing.")
            continue
        exports[name] = accuracy_over(run, labelled.batches(), between)
    return dataclasses.replace(accuracy, exports=exports, notes=tuple(notes))
