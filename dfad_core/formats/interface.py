"""Interfaces of the format modules, and the objects that they exchange with the rest of the engine.

A row of `dfad_core.contract.formats` names its module. With `reads` the module has the functions of
TensorReader or NetworkReader, with `writes` those of Writer. `reader` and `writer` import it.

`_BCHW`: batch, channels, height, width.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, cast

from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import TeacherRejected
from dfad_core.contract.formats import DEFAULT, FORMATS, Format
from dfad_core.contract.job_result import AccuracyPrediction
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.hooks import Between, nothing

ONE_LOGIT = "gives one logit z for an image: read as a yes-or-no classifier with the logits [0, z]"
"""The note on such a teacher."""

Judged = Callable[[Callable[[Tensor], Tensor]], AccuracyPrediction]


@dataclass(frozen=True)
class Hints:
    """What the caller of `load_teacher` knows of the file. None: the file decides."""

    architecture: str | None = None
    num_classes: int | None = None
    input: InputConfig | None = None
    args: Mapping[str, Any] | None = None
    output: str | None = None
    """Name of the output with the logits, in a file that names its outputs."""
    weights: str | None = None
    """Which of the file's sets of weights, by its name: `ema`, `state_dict.backbone`."""

    def refuse_architecture(self, what: str) -> None:
        """Raise TeacherRejected (`architecture_mismatch`) where one is named, though `what` has its own."""
        if self.architecture is not None:
            text = f"{what} contains its architecture; leave `architecture` out."
            raise TeacherRejected(text, code="architecture_mismatch", param="architecture")

    def check_classes(self, what: str, classes: int) -> None:
        """Raise TeacherRejected (`architecture_mismatch`) where another number of classes is named."""
        if self.num_classes not in (None, classes):
            text = f"{what} has {classes} classes, not {self.num_classes}."
            raise TeacherRejected(text, code="architecture_mismatch", param="num_classes")


@dataclass(frozen=True)
class Source:
    """Description and weights of a network outside of the catalogue, from which a process builds it again."""

    document: Any
    """Plain JSON: the network's description for `NetworkReader.rebuild`."""
    tensors: Mapping[str, Tensor]


@dataclass
class LoadedTeacher:
    """A teacher, built from its file and the caller's hints."""

    module: nn.Module
    """In eval mode: (B, C, H, W) float32 -> logits (B, num_classes)."""
    architecture: str
    args: dict[str, Any]
    num_classes: int
    input: InputConfig
    file_format: str = ""
    """A name of `TEACHER_FORMATS`."""
    notes: list[str] = field(default_factory=list)
    """What the reader left out or assumed, in sentences for the user."""
    source: Source | None = None
    """None for an architecture of the catalogue."""
    input_assumed: bool = False
    """Whether neither the file nor the hints name the size of an image."""
    class_names: tuple[str, ...] = ()
    """One for each class, or none at all where the file has no names."""


class Reader(Protocol):
    """A module that reads teachers. No file is trusted, and no code in it is run."""

    def recognises(self, path: Path) -> bool:
        """Whether a file with the format's first bytes, or in one of its archives, is in this format.

        Raises TeacherRejected for a file that is, but is damaged or refused.
        """
        ...

    def load(self, path: Path, hints: Hints) -> LoadedTeacher:
        """The teacher in a file that `recognises` accepted. Raises TeacherRejected."""
        ...


class TensorReader(Reader, Protocol):
    """Reader of a format with `tensors_only`."""

    def read_tensors(self, path: Path) -> tuple[dict[str, Tensor], list[str]]:
        """The file's tensors, and notes on what was left out. Raises TeacherRejected."""
        ...


class NetworkReader(Reader, Protocol):
    """Reader of a format that contains the network; its teachers have a Source."""

    def rebuild(self, document: Any, tensors: Mapping[str, Tensor], shape: tuple[int, int, int]) -> nn.Module:
        """The network of a Source, for inputs of `shape` (C, H, W), in eval mode.

        The document comes from another process and is checked again. Raises TeacherRejected.
        """
        ...


@dataclass(frozen=True)
class ExportTask:
    """A student to write, with the images to check it on."""

    student: nn.Module
    """On the CPU, in eval mode."""
    metadata: StudentMetadata
    calibration_BCHW: Tensor
    """Synthetic inputs that set the ranges of activations."""
    checked_BCHW: Tensor
    """Other inputs, on which the written student is compared: the judge's, where it has seen the student."""
    sources: Mapping[str, bytes]
    """The student in the formats that the row `needs`, by name."""
    between: Between = nothing
    """Called between two batches and while an exporter runs; may raise Stopped."""
    judged: Judged | None = None
    """The judge's prediction for a written student, by its function from images to logits."""


@dataclass(frozen=True)
class Export:
    """A student's file, and the figures of its comparison with the trained student."""

    name: str
    content: bytes
    figures: dict[str, Any] = field(default_factory=dict)


class Writer(Protocol):
    """A module that writes students."""

    def write(self, task: ExportTask) -> tuple[bytes, dict[str, Any]]:
        """The file's content and the figures of its check.

        Raises ExportError where the student cannot be written in this format or its logits differ in it, and
        ModuleNotFoundError where the format's extra is not installed.
        """
        ...

    def read_student(self, content: bytes) -> Callable[[Tensor], Tensor]:
        """The student in a file that `write` made: images (B, C, H, W) to logits, on the CPU.

        Raises ModuleNotFoundError where the format's extra is not installed.
        """
        ...


def reader(name: str) -> Reader:
    """The reader of a format of `TEACHER_FORMATS`."""
    return cast("Reader", _module(name))


def tensor_reader(name: str) -> TensorReader:
    """The reader of a format with `tensors_only`."""
    assert FORMATS[name].tensors_only
    return cast("TensorReader", _module(name))


def network_reader(name: str) -> NetworkReader:
    """The reader of a format that contains networks."""
    assert FORMATS[name].reads
    assert not FORMATS[name].tensors_only
    return cast("NetworkReader", _module(name))


def writer(name: str) -> Writer:
    """The writer of a format of `EXPORTS`."""
    assert name != DEFAULT, "every student has it; see `dfad_core.formats.safetensors.student_bytes`"
    return cast("Writer", _module(name))


def _module(name: str) -> Any:
    row: Format = FORMATS[name]
    return importlib.import_module(row.module)
