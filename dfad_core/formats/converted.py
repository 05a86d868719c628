"""Converted teachers: tensors and plain data that this project wrote, and no uploaded bytes.

A sandboxed process reads the uploaded file and writes this one; the process that trains reads only this one.
It is not trusted either: names, shapes and the network's description are checked again.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.contract.errors import ConfigError, TeacherRejected
from dfad_core.contract.formats import FORMATS
from dfad_core.formats.class_names import checked
from dfad_core.formats.interface import LoadedTeacher, Source, network_reader
from dfad_core.formats.match import build_with
from dfad_core.formats.safetensors import read_safetensors

KEY = "dfad_teacher"


def write_converted(teacher: LoadedTeacher, path: Path) -> None:
    """Write the file from which `read_converted` builds the same teacher."""
    description: dict[str, Any] = {
        "architecture": teacher.architecture,
        "args": teacher.args,
        "num_classes": teacher.num_classes,
        "input": asdict(teacher.input),
        "file_format": teacher.file_format,
        "notes": teacher.notes,
        "input_assumed": teacher.input_assumed,
        "class_names": teacher.class_names,
        "document": None if teacher.source is None else teacher.source.document,
    }
    state = teacher.module.state_dict() if teacher.source is None else teacher.source.tensors
    tensors: dict[str, Tensor] = {name: t.detach().clone().contiguous() for name, t in state.items()}
    save_file(tensors, path, {"format": "pt", KEY: json.dumps(description)})


def read_converted(path: Path) -> LoadedTeacher:
    """The teacher in eval mode. Raises TeacherRejected for a file that `write_converted` did not write."""
    tensors, metadata = read_safetensors(path)
    try:
        description = json.loads(metadata[KEY])
        input = InputConfig.from_json(description["input"])
        architecture, args = str(description["architecture"]), dict(description["args"])
        classes, file_format = int(description["num_classes"]), str(description["file_format"])
        notes = [str(note) for note in description["notes"]]
        assumed = bool(description["input_assumed"])
        document = description["document"]
        names = checked(description["class_names"], classes)
        row = FORMATS[file_format]
        if not row.reads or (document is not None and row.tensors_only):
            raise ValueError("no such network in such a format")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, ConfigError) as error:
        raise TeacherRejected("The converted teacher is damaged.", code="corrupt_file") from error
    source: Source | None = None
    module: nn.Module
    if document is None:
        module = build_with(tensors, architecture, num_classes=classes, input_shape=input.shape, args=args)
    else:
        source = Source(document, tensors)
        module = network_reader(file_format).rebuild(document, tensors, input.shape)
    return LoadedTeacher(
        module,
        architecture,
        args,
        classes,
        input,
        file_format,
        notes,
        source,
        input_assumed=assumed,
        class_names=names,
    )
