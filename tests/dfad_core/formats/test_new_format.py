"""What an addition takes: a format is its file and its row, an architecture is its file and its row.

Each is added here as its two files would add it, and used everywhere that the catalogue reaches.
"""

from __future__ import annotations

import io
import math
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dfad_core.contract.architectures import ARCHITECTURES, Architecture
from dfad_core.contract.bounds import Range
from dfad_core.contract.config import InputConfig, TargetConfig
from dfad_core.contract.containers import container_of
from dfad_core.contract.formats import FORMATS, Format
from dfad_core.formats import load_teacher
from dfad_core.formats.converted import read_converted, write_converted
from dfad_core.formats.export import export
from dfad_core.formats.fitting import load_fitting
from dfad_core.formats.initial import read_weights
from dfad_core.formats.interface import ExportTask, Hints, LoadedTeacher
from dfad_core.formats.metadata import StudentMetadata
from dfad_core.networks import build_classifier
from dfad_core.networks.cost import cost
from dfad_core.networks.derive import derive_student

SHAPE = (1, 8, 8)
MAGIC = b"NEWF"


def recognises(path: Path) -> bool:
    return path.stat().st_size > len(MAGIC)


def load(path: Path, hints: Hints) -> LoadedTeacher:
    tensors, notes = read_tensors(path)
    return load_fitting(tensors, hints, None, notes)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], list[str]]:
    with np.load(io.BytesIO(path.read_bytes()[len(MAGIC) :]), allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}, ["read as new"]


def write(task: ExportTask) -> tuple[bytes, dict[str, Any]]:
    assert set(task.sources) == {"pt2"}
    buffer = io.BytesIO()
    np.savez(buffer, **{name: t.numpy() for name, t in task.student.state_dict().items()})
    return MAGIC + buffer.getvalue(), {"images": len(task.checked_BCHW)}


class Flat(nn.Module):
    """Two linear layers."""

    def __init__(self, num_classes: int, input_shape: tuple[int, int, int], *, width: int = 8) -> None:
        super().__init__()
        self.hidden = nn.Linear(math.prod(input_shape), width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.head(self.hidden(x_BCHW.flatten(1)))


@pytest.fixture
def new_format(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("new_format")
    for function in (recognises, load, read_tensors, write):
        setattr(module, function.__name__, function)
    monkeypatch.setitem(sys.modules, "new_format", module)
    row = Format(
        "new", "a new file", "new_format", reads=True, begins=lambda head: head.startswith(MAGIC),
        tensors_only=True, writes=True, suffix=".new", needs=("pt2",),
    )  # fmt: skip
    monkeypatch.setitem(FORMATS, "new", row)
    return "new"


@pytest.fixture
def new_architecture(monkeypatch: pytest.MonkeyPatch) -> str:
    module = types.ModuleType("new_architecture")
    module.Flat = Flat  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "new_architecture", module)
    row = Architecture(
        "flat", "Flat", "-", SHAPE, 8, args={"width": Range(ge=1, le=64)}, network="new_architecture:Flat",
        family="flat",
    )  # fmt: skip
    monkeypatch.setitem(ARCHITECTURES, "flat", row)
    return "flat"


def test_a_format(tmp_path: Path, new_format: str) -> None:
    network = build_classifier("mlp8", num_classes=3, input_shape=SHAPE, args={"width": 4}).eval()
    failures: list[str] = []
    metadata = StudentMetadata("mlp8", {"width": 4}, 3, InputConfig(SHAPE))
    images = torch.randn(4, *SHAPE)
    (written,) = export(
        [new_format], network, metadata, images, images, failed=lambda *why: failures.append(str(why))
    )
    assert (written.name, written.figures, failures) == (new_format, {"images": 4}, [])
    path = tmp_path / "student"
    path.write_bytes(written.content)
    assert container_of(written.content[:512]) == new_format
    teacher = load_teacher(path)
    assert (teacher.file_format, teacher.architecture, teacher.args) == (new_format, "mlp8", {"width": 4})
    assert "read as new" in teacher.notes
    assert set(read_weights(path)) == set(network.state_dict())
    write_converted(teacher, tmp_path / "converted")
    again = read_converted(tmp_path / "converted")
    with torch.no_grad():
        assert torch.equal(again.module(images), network(images))


def test_an_architecture(tmp_path: Path, new_architecture: str) -> None:
    network = build_classifier(new_architecture, num_classes=3, input_shape=SHAPE, args={"width": 20})
    torch.save(network.state_dict(), tmp_path / "teacher")
    teacher = load_teacher(tmp_path / "teacher")
    assert (teacher.architecture, teacher.args) == (new_architecture, {"width": 20})
    student = derive_student(
        TargetConfig(max_parameters=700), teacher=new_architecture, teacher_args=teacher.args,
        teacher_cost=cost(network, SHAPE), num_classes=3, input_shape=SHAPE,
    )  # fmt: skip
    assert (student.architecture, student.args) == (new_architecture, {"width": 10})
