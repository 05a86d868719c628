"""A teacher as this project writes it for itself: tensors and plain data, nothing that was uploaded.

Whoever reads files from strangers runs in a guarded process and leaves this; whoever trains reads only this.
It is not trusted either: names, shapes and the graph are checked again.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from dfad_core.contract.config import InputConfig
from dfad_core.errors import ConfigError, TeacherRejected
from dfad_core.formats.huggingface_teacher import HuggingFaceSource, build_huggingface, checked_config
from dfad_core.formats.match import build_with
from dfad_core.formats.onnx_teacher import Source
from dfad_core.formats.safetensors_file import read_safetensors
from dfad_core.formats.teacher import LoadedTeacher
from dfad_core.networks.onnx_graph import Graph, build_graph

KEY = "dfad_teacher"


def write_converted(teacher: LoadedTeacher, path: Path) -> None:
    """Everything that `read_converted` needs to build the same teacher."""
    about: dict[str, Any] = {
        "architecture": teacher.architecture,
        "args": teacher.args,
        "num_classes": teacher.num_classes,
        "input": asdict(teacher.input),
        "file_format": teacher.file_format,
        "notes": teacher.notes,
        "graph": teacher.source.graph.to_json() if isinstance(teacher.source, Source) else None,
        "huggingface": dict(teacher.source.config) if isinstance(teacher.source, HuggingFaceSource) else None,
    }
    tensors = teacher.module.state_dict() if teacher.source is None else teacher.source.tensors
    kept: dict[str, Tensor] = {name: t.detach().clone().contiguous() for name, t in tensors.items()}
    save_file(kept, path, {"format": "pt", KEY: json.dumps(about)})


def read_converted(path: Path) -> LoadedTeacher:
    """The teacher in eval mode. Raises TeacherRejected for a file that `write_converted` did not write."""
    tensors, metadata = read_safetensors(path)
    try:
        about = json.loads(metadata[KEY])
        given = InputConfig.from_json(about["input"])
        name, args, classes = str(about["architecture"]), dict(about["args"]), int(about["num_classes"])
        notes = [str(note) for note in about["notes"]]
        graph = None if about["graph"] is None else Graph.from_json(about["graph"])
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, ConfigError) as error:
        raise TeacherRejected("The converted teacher is garbled.", code="corrupt_file") from error
    source: Source | HuggingFaceSource | None = None
    module: nn.Module
    if about.get("huggingface") is not None:
        source = HuggingFaceSource(checked_config(about["huggingface"]), tensors)
        module = build_huggingface(source.config, tensors, given.shape)
    elif graph is None:
        module = build_with(tensors, name, num_classes=classes, input_shape=given.shape, args=args)
    else:
        source = Source(graph, tensors)
        module = build_graph(graph, tensors, given.shape)
    return LoadedTeacher(module, name, args, classes, given, str(about["file_format"]), notes, source)
