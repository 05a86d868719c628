"""The file that a confined reader leaves: what a reader in the wrong hands could write into it is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats import load_teacher
from dfad_core.formats.converted import KEY, read_converted, write_converted
from dfad_core.formats.safetensors import read_safetensors
from dfad_core.networks import build_classifier


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    network = build_classifier("cnn8", num_classes=3, input_shape=(1, 8, 8), args={"width": 4})
    save_file(network.state_dict(), tmp_path / "teacher")
    write_converted(load_teacher(tmp_path / "teacher"), tmp_path / "converted")
    return tmp_path / "converted"


def test_it_is_the_same_teacher(converted: Path) -> None:
    original, again = load_teacher(converted.with_name("teacher")), read_converted(converted)
    assert (again.architecture, again.args, again.file_format) == ("cnn8", {"width": 4}, "safetensors")
    assert (again.num_classes, again.input, again.notes) == (3, original.input, original.notes)
    x_BCHW = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(again.module(x_BCHW), original.module(x_BCHW))


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"file_format": "nonsense"}, "corrupt_file"),
        ({"file_format": "pt2"}, "corrupt_file"),
        ({"document": "{}"}, "corrupt_file"),
        ({"document": "{}", "file_format": "onnx"}, "corrupt_file"),
        ({"document": 5, "file_format": "onnx"}, "corrupt_file"),
        ({"document": [1], "file_format": "huggingface"}, "corrupt_file"),
        ({"document": {"auto_map": {}}, "file_format": "huggingface"}, "remote_code_refused"),
        ({"document": {"model_type": "bert"}, "file_format": "huggingface"}, "unsupported_architecture"),
        ({"input": {"shape": [1, 8], "mean": None, "std": None}}, "corrupt_file"),
        ({"args": {"width": 5}}, "architecture_mismatch"),
    ],
)
def test_what_is_changed_is_refused(converted: Path, changes: dict[str, Any], code: str) -> None:
    tensors, metadata = read_safetensors(converted)
    description = json.loads(metadata[KEY]) | changes
    other = converted.with_name("other")
    save_file({n: t.clone() for n, t in tensors.items()}, other, {KEY: json.dumps(description)})
    with pytest.raises(TeacherRejected) as refused:
        read_converted(other)
    assert refused.value.code == code
