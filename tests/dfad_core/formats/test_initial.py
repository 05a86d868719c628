"""A student's first weights: what fits is taken, what does not is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dfad_core.contract.errors import TeacherRejected
from dfad_core.formats.initial import begin_with, read_weights
from dfad_core.networks import build_classifier


def network(classes: int, width: int = 8) -> torch.nn.Module:
    return build_classifier("cnn8", num_classes=classes, input_shape=(1, 8, 8), args={"width": width})


@pytest.mark.parametrize("ending", ["safetensors", "pt"])
def test_all_but_the_head_of_another_task(tmp_path: Path, ending: str) -> None:
    other, student = network(7), network(10)
    path = tmp_path / f"weights.{ending}"
    if ending == "pt":
        torch.save({"state_dict": {f"module.{n}": t for n, t in other.state_dict().items()}}, path)
    else:
        save_file({**other.state_dict(), "extra": torch.ones(1)}, path)
    head = student.state_dict()["linear.weight"].clone()
    told = begin_with(student, read_weights(path))
    assert torch.equal(student.state_dict()["conv2.weight"], other.state_dict()["conv2.weight"])
    assert torch.equal(student.state_dict()["linear.weight"], head)
    assert sorted(told["other_shape"]) == sorted(told["missing"]) == ["linear.bias", "linear.weight"]
    assert told["unknown"] == ([] if ending == "pt" else ["extra"])
    assert told["taken"] == told["of"] - 2


def test_nothing_that_fits_is_a_mistake() -> None:
    with pytest.raises(TeacherRejected) as refused:
        begin_with(network(10), {"x": torch.ones(2), "conv1.weight": torch.ones(3)})
    assert refused.value.code == "init_mismatch"


def test_weights_that_are_no_numbers_are_refused() -> None:
    tensors = dict(network(10).state_dict())
    tensors["conv1.weight"] = torch.full_like(tensors["conv1.weight"], float("nan"))
    student = network(10)
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    with pytest.raises(TeacherRejected) as refused:
        begin_with(student, tensors)
    assert refused.value.code == "nonfinite_weights"
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"nothing of the kind")
    with pytest.raises(TeacherRejected):
        read_weights(tmp_path / "x")
